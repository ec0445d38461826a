"""Every folder of measured data is read as its description says, or refused with the stated reason."""

from pathlib import Path

import numpy as np
import pytest

from fitlab.errors import FitError, ReadError
from fitlab.fit.prepare import prepare
from fitlab.io import Options, read, read_record
from tests.fitlab.shared import measured


def text_of(record):
    return " ".join([*record.attrs["assumptions"], *record.attrs["warnings"]])


def test_organic_sheet_without_its_side_notes():
    record = read_record(measured("organic_adc/Current.xlsx"))
    assert record.value.shape == (1, 1, 20_000)
    assert (record.attrs["reads_up"], record.attrs["reads_down"]) == (10_000, 10_000)
    turns = np.flatnonzero(np.diff(record.direction[0, 0])) + 1
    assert turns.tolist() == list(range(1000, 20_000, 1000))
    assert record.attrs["unit"] == "A"
    assert record.attrs["read_voltage_V"] == -0.3  # of the side notes
    current = record.value[0, 0]
    assert (current.min(), current.max()) == (pytest.approx(0.968e-6, rel=1e-3), pytest.approx(4.506e-6, rel=1e-3))
    assert record.conductance.min() == pytest.approx(3.226e-6, rel=1e-3)
    assert record.conductance.max() == pytest.approx(15.02e-6, rel=1e-3)
    assert "column 'ADC' holds the same reads in counts" in text_of(record)
    assert "7 lines beside the table are notes" in text_of(record)
    counts = read_record(measured("organic_adc/Current.xlsx"), Options(mapping={"value": "ADC", "ignore": "Current"}))
    assert (counts.value.min(), counts.value.max(), len(np.unique(counts.value))) == (99, 461, 360)


def test_levels_of_a_retention_sheet():
    path = measured("mnncam_retention/32-levels-retention.xlsx")
    with pytest.raises(ReadError, match="32 columns of reads may be 32 devices or 32 cycles"):
        read_record(path)
    record = read_record(path, Options(columns="devices"))
    length = np.isfinite(record.value).sum(2).ravel()
    assert sorted(length) == [1000] * 26 + [1051] * 5 + [1451]
    assert record.devices[int(np.argmax(length))] == "Current24"
    assert record.attrs["read_voltage_V"] == -0.5
    assert int((record.value == 0).sum()) == 706
    assert np.nanmax(record.value) == pytest.approx(104e-6, rel=1e-3)
    assert np.nanmax(record.conductance) == pytest.approx(208e-6, rel=1e-3)
    assert not record.direction.any()
    assert "without pulses (retention)" in text_of(record)
    with pytest.raises(FitError, match="has no pulse"):
        prepare(record)


def test_states_over_days():
    record = read_record(measured("crosssim_sonos_retention/sonos_state_current_nA.csv"))
    assert record.value.shape == (16, 1, 4)
    assert int(np.isfinite(record.value).sum()) == 64
    assert (record.value.min(), record.value.max()) == (pytest.approx(52.36e-9), pytest.approx(1585.32e-9))
    assert record.time[0, 0].tolist() == [0, 86400, 2 * 86400, 5 * 86400]
    assert record.value[0, 0].tolist() == pytest.approx([52.36e-9, 54.94e-9, 56.51e-9, 58.44e-9])
    assert "the reads are in nA" in text_of(record)


def test_digitised_curves_are_sorted_and_never_taken_for_pulses():
    folder = measured("sst_digitised_endurance_retention")
    files = sorted(folder.glob("*.csv"))
    assert len(files) == 32
    lengths = []
    for path in files:
        if path.stem == "3D_R":
            with pytest.raises(ReadError, match="3 read"):
                read_record(path)
            continue
        record = read_record(path)
        rows = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("x")]
        points = sorted(tuple(map(float, row.split(","))) for row in rows)
        assert record.attrs["digitised"] == 1
        assert sorted(zip(record.time[0, 0], record.value[0, 0], strict=True)) == points
        assert bool((np.diff(record.time[0, 0]) >= 0).all())
        assert not record.direction.any()
        lengths.append(len(points))
    assert (min(lengths), max(lengths)) == (3, 244)
    twice = read_record(folder / "3A_LRS_200.csv").time[0, 0]
    assert int((twice == 143).sum()) == 2


@pytest.fixture(scope="module")
def sweeps() -> list[Path]:
    return sorted(measured("lbe247_ferroelectric_2024-09").glob("*/*/*.csv"))


def test_bench_files_are_read_once_and_aborted_ones_skipped(sweeps):
    assert len(sweeps) == 104
    chosen = [p for p in sweeps if "pulsedAmplitudeSweep" in p.name]
    singles = [p for p in chosen if "(ALL)" not in p.name]
    assert (len(chosen), len(singles)) == (85, 58)
    record = read_record(chosen)
    assert record.attrs["instrument"] == "wgfmu"
    assert len(record.devices) == 12
    volts = record.amplitude[(record.flag & 128) == 0]
    assert (int((volts > 0).sum()), int((volts < 0).sum()), int((volts == 0).sum())) == (3119, 2461, 190)
    assert "27 files join runs that are given one by one" in text_of(record)
    assert "positive pulse voltages lower the conductance" in text_of(record)
    low = read_record(singles, Options(mapping={"value": "R_low (ohm)"}))
    assert int(((record.flag & 2) != 0).sum() + ((low.flag & 2) != 0).sum()) == 12
    assert np.nanmax(record.value) < 1e11
    assert not np.isfinite(record.conductance[(record.flag & (2 | 8)) != 0]).any()
    runs = (~np.isnan(record.amplitude)).sum(2)
    assert (runs[runs > 0].min(), runs.max()) == (14, 192)
    with pytest.raises(FitError, match="not alike"):
        prepare(record)

    widths = [p for p in sweeps if "pulsedWidthSweep" in p.name]
    both = read_record(widths)
    assert text_of(both).count("the file is empty") == 6
    assert text_of(both).count("there is no Measurement Data") == 6
    assert not np.isnan(both.width[(both.flag & 128) == 0]).any()
    with pytest.raises(ReadError, match="the file is empty"):
        read_record(next(p for p in widths if p.stat().st_size == 0))


def test_pulses_of_one_voltage_can_be_taken(sweeps):
    chosen = [p for p in sweeps if "(0)" in p.name and "ID300YR1000Oct" in p.name and "pulsedAmplitude" in p.name]
    record = read_record(chosen, Options(amplitude_V=1.5))
    used = (record.flag & 128) == 0
    assert set(np.abs(record.amplitude[used])) == {1.5}
    assert record.restart[used].all()
    with pytest.raises(ReadError, match="no pulse has this voltage"):
        read_record(chosen, Options(amplitude_V=77.0))


RELAX = """
[reader]
layout = "long"
kind = "retention"
columns = ["addr", "t (s)", "r (ohm)", "g (S)", "gi (S)", "range", "timept"]
device = "addr"
value = "g (S)"
time = "t (s)"
"""
SERIES = """
[reader]
layout = "lines"
kind = "retention"
unit = "S"
columns = ["range", "zero"]
device = "range"
sample_rate_Hz = 400
"""


def recipe(folder, text):
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_relaxation_of_an_array_by_a_recipe(tmp_path):
    path = measured("rram_relaxation/techC_relaxdata.min.tsv.gz")
    with pytest.raises(ReadError, match="the file does not say what they are; say it in a recipe"):
        read_record(path)
    record = read_record(path, Options(recipe=recipe(tmp_path, RELAX)))
    assert len(record.devices) == 16_292
    present = (record.flag & 128) == 0
    assert int(present.sum()) == 89_115
    early, late = (record.time[present] < 0.005), (record.time[present] > 5e4)
    assert (int(early.sum()), int(late.sum())) == (16_292, 16_292)
    assert (np.nanmin(record.conductance), np.nanmax(record.conductance)) == (
        pytest.approx(-0.123e-6, abs=1e-9), pytest.approx(65.6e-6, abs=5e-8),
    )  # fmt: skip
    assert int(((record.flag & 16) != 0).sum()) == 1
    assert not record.direction.any()


def test_series_of_reads_by_a_recipe(tmp_path):
    record = read_record(measured("rram_relaxation/techA_tsdata.min.tsv.gz"), Options(recipe=recipe(tmp_path, SERIES)))
    assert record.value.shape == (5, 1, 100_000)
    np.testing.assert_allclose(record.value.mean(2).ravel() * 1e6, [9.48, 85.3, 134.0, 185.1, 253.0], rtol=1e-3)
    assert record.time[0, 0, -1] == pytest.approx(99_999 / 400)


def test_the_same_bytes_give_the_same_record(sweeps):
    assert read(sweeps[:3]).identical(read(sweeps[:3]))
