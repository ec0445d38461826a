"""The response of 4,000 devices to single pulses against the reference simulator, through a whole tile.

Pulses up, twice as many down, then up-down pairs, from w = 0. Means and standard deviations within 5 standard errors of
the two samples; without any variation within 1e-4 of the weight range.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sim import devices, presets
from sim.configs import SingleRPUConfig, UpdateParameters
from sim.settings import settings_of
from sim.tiles import AnalogTile

CASES = json.loads((Path(__file__).parents[1] / "reference" / "devices.json").read_text())
SHAPE = (50, 80)


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of tiny kernel calls: threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def device_of(case):
    return getattr(presets if case.endswith("PresetDevice") else devices, case)()


def responses(device, n_up, index):
    """Weights after the pulses of the given indices, float64, by index: one pulse for every device each time."""
    update = UpdateParameters(desired_bl=1, update_management=False, update_bl_management=False)
    tile = AnalogTile(*SHAPE, SingleRPUConfig(device=device, update=update), replicas=1, seeds=[1], stream="response")
    tile.set_weights(torch.zeros(SHAPE))
    tile.set_learning_rate(device.granularity())
    x, up = torch.ones(1, SHAPE[1]), -torch.ones(1, SHAPE[0])
    found = {0: tile.get_weights()[0][0].double()}
    for k, sign in enumerate([1] * n_up + [-1] * (2 * n_up) + [1, -1] * (n_up // 2), start=1):
        tile.update(x, sign * up)
        if k in index:
            found[k] = tile.get_weights()[0][0].double()
    return found


@pytest.mark.parametrize("case", CASES)
def test_statistics(case):
    reference = CASES[case]
    found = responses(device_of(case), reference["n_up"], set(reference["index"]))
    both = 1 / reference["n_devices"] + 1 / (SHAPE[0] * SHAPE[1])
    for k, mean, std in zip(reference["index"], reference["mean"], reference["std"], strict=True):
        w = found[k]
        assert abs(float(w.mean()) - mean) <= 5 * std * both**0.5 + 1e-12, k
        if std > 0:
            fourth = float(((w - w.mean()) ** 4).mean())
            error = ((fourth - float(w.std()) ** 4) / (4 * std**2) * both) ** 0.5
            assert abs(float(w.std()) - std) <= 5 * error, k


@pytest.mark.parametrize("case", CASES)
def test_without_variation(case):
    device, reference = device_of(case), CASES[case]
    for name in settings_of(type(device)):
        if name.endswith("_dtod") or name in ("dw_min_std", "write_noise_std", "reference_std"):
            setattr(device, name, 0.0)
    found = responses(device, reference["n_up"], set(reference["index"]))
    for k, expected in zip(reference["index"], reference["noise_free"], strict=True):
        assert float((found[k] - expected).abs().max()) <= 1e-4 * (device.w_max - device.w_min), k
