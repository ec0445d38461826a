"""Keys, seeds and named fields."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sim.random import Draws, derive_key, fresh_seeds

KEYS = (9549033805879814570, 13421796764331241327, 12055819245986696121)
PARTS = st.lists(st.one_of(st.text(max_size=3), st.integers()), max_size=4)


@given(st.integers(), PARTS, PARTS)
def test_different_paths_give_different_keys(seed, a, b):
    one, other = derive_key(seed, *a), derive_key(seed, *b)
    assert 0 <= one < 2**64
    same = [(type(p), p) for p in a] == [(type(p), p) for p in b]
    assert (one == other) == same


def test_keys_are_the_same_everywhere():
    """Values computed once; a change would change every result that names a seed."""
    assert derive_key(0) == KEYS[0]
    assert derive_key(7, "fc1", "construction") == KEYS[1]
    assert derive_key(2**64 - 1, 3) == KEYS[2]


def test_parts_do_not_run_together():
    keys = {derive_key(1, "ab", "c"), derive_key(1, "a", "bc"), derive_key(1, "abc"), derive_key(1, "a", "b", "c")}
    assert len(keys) == 4
    assert derive_key(1, "2") != derive_key(1, 2)


def test_fields_are_functions_of_key_and_name():
    draws = Draws(3, (50, 60))
    first = draws.normal("a")
    draws.uniform("x")
    assert torch.equal(first, draws.normal("a"))
    assert torch.equal(first, Draws(3, (50, 60)).normal("a"))
    for other in (draws.normal("b"), Draws(4, (50, 60)).normal("a")):
        assert abs(float(torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1])) < 5 / 3000**0.5


def test_fields_have_their_law():
    draws = Draws(5, (300, 300))
    normal, uniform = draws.normal("n").double(), draws.uniform("u").double()
    n = normal.numel()
    assert normal.dtype == uniform.dtype == torch.float64
    assert float(normal.mean()) == pytest.approx(0, abs=5 / n**0.5)
    assert float(normal.std()) == pytest.approx(1, abs=5 / (2 * n) ** 0.5)
    assert float(uniform.mean()) == pytest.approx(0.5, abs=5 * (1 / 12 / n) ** 0.5)
    assert float(uniform.min()) >= 0
    assert float(uniform.max()) < 1


def test_torch_governs_fresh_seeds():
    torch.manual_seed(1)
    a, b = fresh_seeds(3), fresh_seeds(3)
    torch.manual_seed(1)
    assert fresh_seeds(3) == a
    assert len({*a, *b}) == 6
    assert all(0 <= s < 2**63 for s in a)
