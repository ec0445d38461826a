"""Tuning of a training algorithm for a device: ``fitlab tune``.

A search by optuna, whose trials are trained together as replicas; every trial is a function of the seed and of the trials before
it, so that a search that was killed continues as if it had not been.
"""

from studies.tune.plan import Plan, make_plan
from studies.tune.results import Summary, conclude
from studies.tune.space import SPACES, Varied, parse_varied
from studies.tune.trials import Found, search

__all__ = ["SPACES", "Found", "Plan", "Summary", "Varied", "conclude", "make_plan", "parse_varied", "search"]
