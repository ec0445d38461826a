"""What to run next, from hand-made tables."""

from __future__ import annotations

import numpy as np

from studies.design import Point
from studies.plan import Waiting, fair_share, split, what_next

A, B, C = (Point(i, {"x": float(n)}) for n, i in enumerate("abc"))


def ids(units):
    return [(p.id, r) for p, r in units]


def table(**rows):
    return {k: np.array(v, dtype=np.uint8) for k, v in rows.items()}


def test_empty_store_runs_everything_replicate_by_replicate():
    assert ids(what_next([A, B], 2, {})) == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_partial_store_runs_what_is_missing_or_skipped():
    status = table(a=[1, 0], b=[4, 1])
    assert ids(what_next([A, B, C], 2, status)) == [("b", 0), ("c", 0), ("a", 1), ("c", 1)]


def test_failed_and_timed_out_run_again_only_when_asked():
    status = table(a=[2], b=[3], c=[1])
    assert ids(what_next([A, B, C], 1, status)) == []
    assert ids(what_next([A, B, C], 1, status, again=True)) == [("a", 0), ("b", 0)]


def test_more_replicates_than_stored():
    assert ids(what_next([A], 3, table(a=[1]))) == [("a", 1), ("a", 2)]


def test_groups_are_of_one_structure_and_the_pair_that_waits_longest_leads():
    units = what_next([A, B, C], 2, {})
    waiting = Waiting(units, lambda p: p.id == "b")
    assert len(waiting) == 6
    assert ids(waiting.take(3)) == [("a", 0), ("c", 0), ("a", 1)]
    assert ids(waiting.take(9)) == [("b", 0), ("b", 1)]
    assert len(waiting) == 1
    assert ids(waiting.take(9)) == [("c", 1)]
    assert not waiting
    assert waiting.take(9) == []


def shares(waiting, threads, timed):
    """Sizes of the groups as they are given out, one after the other."""
    sizes = []
    while waiting:
        sizes.append(fair_share(waiting, threads, None if timed else len(sizes)))
        waiting -= sizes[-1]
    return sizes


def test_all_workers_start_with_as_much_and_later_groups_shrink():
    assert shares(16, 2, timed=False) == [8, 8]
    assert shares(16, 3, timed=False) == [6, 5, 5]
    assert shares(1, 4, timed=False) == [1]
    assert shares(16, 2, timed=True) == [8, 4, 2, 1, 1]
    assert shares(3, 0, timed=False) == [3]  # no worker has come yet


def test_structure_is_asked_of_no_more_points_than_the_groups_need():
    asked = []
    waiting = Waiting(what_next([A, B, C], 5, {}), lambda p: asked.append(p.id))
    waiting.take(2)
    assert asked == ["a", "b"]


def test_units_are_a_sequence():
    units = what_next([A, B], 2, {})
    assert ids(units[1:3]) == [("b", 0), ("a", 1)]
    assert ids(units.where(lambda unit: unit[0].id == "b")) == [("b", 0), ("b", 1)]


def test_split_halves_and_loses_nothing():
    units = [(A, 0), (B, 0), (C, 0)]
    assert [ids(h) for h in split(units)] == [[("a", 0), ("b", 0)], [("c", 0)]]
