"""A few hundred of the damaged files that `fuzz.py` makes, and cells and lines that hypothesis makes."""

from __future__ import annotations

import string

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitlab.errors import FitlabError
from fitlab.io import Options, read_record
from fitlab.io.numbers import parse
from tests.fitlab.fuzz import bases, run


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_damaged_files_are_refused_or_read_right(seed: int) -> None:
    outcomes, faults = run(250, seed)
    assert not faults, "\n".join(faults)
    for word in ("damaged read", "damaged refused", "harmless read"):
        assert outcomes[word] > 20


def test_every_whole_file_is_read() -> None:
    names = [name for name, _, _ in bases()]
    assert len(names) == len(set(names)) >= 12


@given(st.floats(allow_nan=False, allow_infinity=False, width=64).filter(lambda v: abs(v) < 9e21 and v not in (-999.0, -9999.0)))
def test_a_number_is_read_as_written(value: float) -> None:
    for text in (repr(value), f"{value:.17e}", f" +{abs(value)!r} ", f'"{value!r}"'):
        found = parse(text)
        assert found is not None
        assert found[0] == (abs(value) if text.startswith(" +") else value)
        assert found[1] == 0
    comma = parse(repr(value).replace(".", ","), decimal_comma=True)
    assert comma is not None
    assert comma[0] == value


cells = st.text(string.ascii_letters + string.digits + " .,;:-+eE()[]\"'#µΩ\t/%", max_size=12)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.lists(cells, min_size=1, max_size=5), min_size=1, max_size=12),
    separator=st.sampled_from([",", ";", "\t", " "]),
    columns=st.sampled_from([None, "devices", "cycles"]),
)
def test_any_text_is_refused_in_a_sentence_or_read(tmp_path, lines, separator, columns) -> None:
    path = tmp_path / "any.csv"
    path.write_text("\n".join(separator.join(row) for row in lines))
    refusal, record = None, None
    try:
        record = read_record(path, Options(columns=columns))
    except FitlabError as error:
        refusal = str(error)
    if refusal is not None:
        assert "any.csv" in refusal
        assert "\n" not in refusal
    assert record is None or bool(np.isfinite(record.value).any()) or bool((record.flag != 0).all())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.floats(1e-9, 1e-3), min_size=5, max_size=30), up=st.booleans(), separator=st.sampled_from([",", ";", "\t"])
)
def test_a_good_file_gives_its_numbers(tmp_path, values, up, separator) -> None:
    path = tmp_path / "good.csv"
    rows = [f"{k}{separator}{1 if up else -1}{separator}{v!r}" for k, v in enumerate(values)]
    path.write_text("\n".join([separator.join(("pulse", "direction", "G (S)")), *rows]))
    if len(set(values)) == 1:
        return  # a constant column is a setting, not reads
    record = read_record(path)
    np.testing.assert_array_equal(record.conductance[0, 0], values)
    assert set(record.direction[0, 0]) == {1 if up else -1}
