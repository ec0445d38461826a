"""Timed work, never part of the tests: ``python -m benchmarks [NAME ...]``.

Every number is the minimum and the median of repeats. What a ratio compares is run in turn in one process, so that a
machine that slows down slows both. Bars are those that the project set itself; the table says which are met.
"""
