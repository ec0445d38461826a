"""The table of measured steps as a parameter set."""

from __future__ import annotations

import numpy as np
import pytest

from fitlab.errors import FitError
from fitlab.fit import fit, parameter_set
from fitlab.fit.table import COLUMNS, ROWS, _means, _weight
from fitlab.io.record import Origin, PulseResponse, Run, record
from fitlab.parameters import load
from sim.devices import TableDevice


def reads_of(pulses, seed: int, read_noise: float, cells: int = 1, skew: bool = True, step: float = 0.06) -> PulseResponse:
    """Linear steps with a skewed noise (exponential of mean 1), and read noise."""
    rng = np.random.default_rng(seed)
    runs = []
    for cell in range(cells):
        w, out = -0.9, []
        for k, sign in enumerate(pulses):
            size = step * (1 - 0.6 * sign * w)
            w += 0.0 if k == 0 else float(np.clip(w + sign * size * (rng.exponential() if skew else 1.0), -1, 1)) - w
            out.append(w + read_noise * rng.standard_normal())
        n = len(pulses)
        direction, first = np.sign(pulses).astype(np.int8), np.arange(n) == 0
        runs.append(Run(f"c{cell}", 0, np.array(out), direction, np.abs(pulses).astype(np.int32), first, np.zeros(n, np.uint8)))
    return record(runs, Origin("made", "0" * 64, "test", "norm"))


RAMPS = np.tile(np.repeat([1, -1], 30), 30)


@pytest.fixture(scope="module")
def fitted():
    return fit(reads_of(RAMPS, 1, 0.004), ["table", "LinearStep"])


def test_the_set_holds_a_table_that_loads(fitted, tmp_path):
    document = parameter_set(fitted)
    document.save(tmp_path / "t.toml")
    found = load(tmp_path / "t.toml")
    assert found == document
    device = found.to_device()
    assert isinstance(device, TableDevice)
    assert device.rows == ROWS
    assert len(device.up) == ROWS * COLUMNS
    assert device.dw_min_dtod == 0.0, "what was not measured is no spread"
    assert device.write_noise_std * device.dw_min == pytest.approx(found.noise.read_noise.value, rel=1e-6)


def test_mean_and_skew_are_those_of_the_steps(fitted):
    device = parameter_set(fitted).to_device()
    window = fitted.window.to_w(np.array([-1.0, 1.0]))
    scale = (window[1] - window[0]) / 2
    states = np.linspace(device.w_min, device.w_max, ROWS)
    inside = slice(4, -4)
    w = fitted.window.to_value(states)[inside]
    for name, sign in (("up", 1), ("down", -1)):
        table = np.reshape(getattr(device, name), (ROWS, COLUMNS)) * device.dw_min
        truth = 0.06 * (1 - 0.6 * sign * w) * scale
        mean = _means(table)
        # a row has 40 pulses and more, whose steps scatter by their size; over 13 rows 5 % of it
        assert np.mean(mean[inside] / truth) == pytest.approx(1.0, abs=0.12)
        centred = table - mean[:, None]
        third = (centred**3 @ _weight(table)) / (centred**2 @ _weight(table)) ** 1.5
        assert np.median(third) > 0.8, "exponential steps have a skewness of 2"


def test_read_noise_is_taken_out_of_the_steps():
    quiet, loud = (fit(reads_of(RAMPS, 2, noise, skew=False), ["table", "LinearStep"]) for noise in (0.0005, 0.02))
    spread = []
    for found in (quiet, loud):
        device = parameter_set(found).to_device()
        table = np.reshape(device.up, (ROWS, COLUMNS)) * device.dw_min
        centred = table - _means(table)[:, None]
        spread.append(float(np.median(np.sqrt(centred**2 @ _weight(table)))))
    # reads of sigma 0.02 alone would scatter changes by 0.028
    assert spread[1] < 0.012
    assert spread[0] < 0.01


def test_steps_too_small_for_their_noise_take_the_mean_of_the_model():
    pulses = np.tile(np.repeat([1, -1], 300), 2)
    found = fit(reads_of(pulses, 3, 0.05, skew=False, step=0.006), ["table", "LinearStep"])
    document = parameter_set(found)
    assert any("so the table has the mean steps of LinearStep" in text for text in document.warnings)
    assert document.goodness.r2 > 0.95
    assert "mean step of LinearStep" in (document.parameters["dw_min"].reason or "")


def test_too_few_single_pulses_are_refused():
    response = reads_of(np.tile(np.repeat([2, -2], 12), 3), 4, 0.003, skew=False, step=0.03)
    with pytest.raises(FitError, match="at least 10 single pulses"):
        parameter_set(fit(response, ["table", "LinearStep"]))


def test_devices_keep_their_spread():
    document = parameter_set(fit(reads_of(RAMPS[:240], 5, 0.004, cells=6), ["table", "LinearStep"]))
    assert document.dtod["dw_min_dtod"].value is not None
    assert document.device.fields["dw_min_dtod"] == document.dtod["dw_min_dtod"].value
