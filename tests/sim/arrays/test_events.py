"""What happens to crosspoints beside pulses, against the same laws written with torch (devices.md, 4.2, 7.3 to 7.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sim.arrays import PulsedArray
from sim.arrays.array import Draw, Event, event_streams
from sim.configs import SoftBoundsDevice, SoftBoundsReferenceDevice, UpdateParameters
from sim.devices.base import DriftParameter
from sim.ops import ShapeError, normal_field, uniform_field
from sim.ops.events import Crosspoints, Values

SHAPE = 7, 19
DEVICES: dict[str, Callable[[], list[Any]]] = {
    "one that ages beside one that does not": lambda: [
        SoftBoundsDevice(lifetime=20.0, lifetime_dtod=0.2, diffusion=0.05, reset_std=0.1, write_noise_std=20.0),
        SoftBoundsDevice(),
    ],
    "one that decays, one that diffuses": lambda: [
        SoftBoundsDevice(lifetime=20.0, reset_dtod=0.05, write_noise_std=10.0),
        SoftBoundsDevice(diffusion=0.05, diffusion_dtod=0.3),
    ],
    "references": lambda: [
        SoftBoundsReferenceDevice(
            diffusion=0.1, lifetime=5.0, reference_std=0.05, subtract_symmetry_point=True, reset_std=0.1, write_noise_std=20.0,
            apply_write_noise_on_set=False,
        )
    ],
}  # fmt: skip


class Reference:
    """The chain of elementwise operations that an event is."""

    def __init__(self, array: PulsedArray) -> None:
        self.array, self.weight = array, array.weight.clone()
        self.apparent = None if array.apparent is None else array.apparent.clone()

    def normal(self, event: Event, draw: Draw = Draw.VALUE) -> Tensor:
        return normal_field(self.array.keys, SHAPE, self.array.steps[event], event_streams(event)[draw])

    def store(self, weight: Tensor, event: Event, having: list[bool] | None = None, noisy: Tensor | None = None) -> None:
        array = self.array
        reference = array.parameter("reference")
        low, high = array.parameter("min_bound") - reference, array.parameter("max_bound") - reference
        clipped = torch.minimum(torch.maximum(weight, low), high)
        where = torch.tensor(having or [True] * array.replicas).reshape(-1, 1, 1)
        self.weight = torch.where(where, clipped, self.weight)
        if self.apparent is not None:
            std = array.noise[:, 1].reshape(-1, 1, 1)
            std = std if noisy is None else std * noisy.float().reshape(-1, 1, 1)
            shown = self.weight + std * self.normal(event, Draw.WRITE_NOISE)
            self.apparent = torch.where(where, shown, self.apparent)

    def check(self) -> None:
        assert torch.equal(self.array.weight, self.weight)
        if self.apparent is not None:
            assert torch.equal(self.array.read(), self.apparent)


@pytest.fixture(params=list(DEVICES))
def array(request: pytest.FixtureRequest) -> PulsedArray:
    devices = DEVICES[request.param]()
    made = PulsedArray(devices, [UpdateParameters() for _ in devices], SHAPE, [3, 2**63 + 7][: len(devices)])
    made.set(torch.rand(len(devices), *SHAPE, generator=torch.Generator().manual_seed(1)) - 0.5)
    return made


def test_a_set_is_bounded_and_noisy(array: PulsedArray) -> None:
    expected = Reference(array)
    weight = torch.linspace(-2, 2, expected.weight.numel()).reshape(expected.weight.shape)
    expected.store(weight, Event.SET, noisy=array.set_noisily)
    array.set(weight)
    expected.check()


def test_diffusion_then_decay(array: PulsedArray) -> None:
    for _ in range(3):
        expected = Reference(array)
        diffusing, decaying = [d.diffusion > 0 for d in array.devices], [d.lifetime > 0 for d in array.devices]
        if any(diffusing):
            moved = expected.weight + array.parameter("diffusion_rates") * expected.normal(Event.DIFFUSION)
            expected.store(moved, Event.DIFFUSION, diffusing)
        if any(decaying):
            target = array.parameter("reset_bias")
            expected.store((expected.weight - target) * array.parameter("decay_scales") + target, Event.DECAY, decaying)
        before = array.steps.clone()
        array.end_step()
        expected.check()
        assert (array.steps - before)[[Event.DIFFUSION, Event.DECAY]].tolist() == [any(diffusing), any(decaying)]


@pytest.mark.parametrize(("start", "n", "probability"), [(0, -1, 1.0), (17, 4, 0.4), (-2, 3, 1.0), (5, 0, 1.0), (2, 40, 0.5)])
def test_resets(array: PulsedArray, start: int, n: int, probability: float) -> None:
    expected = Reference(array)
    columns = torch.zeros(SHAPE[1], dtype=torch.bool)
    columns[(start + torch.arange(SHAPE[1] if n < 0 else n)) % SHAPE[1]] = True
    u = uniform_field(array.keys, SHAPE, array.steps[Event.RESET], event_streams(Event.RESET)[Draw.CHOICE])
    value = array.parameter("reset_bias") + array.reset_std * expected.normal(Event.RESET)
    expected.store(torch.where(columns & (u < probability), value, expected.weight), Event.RESET)
    array.reset(start, n, probability)
    expected.check()


def test_clipping(array: PulsedArray) -> None:
    expected = Reference(array)
    expected.store(expected.weight.clamp(-0.2, 0.2), Event.CLIP)
    array.clip(0.2)
    expected.check()


def test_what_is_not_chosen_keeps_its_write_noise(array: PulsedArray) -> None:
    chosen = torch.zeros(array.replicas, *SHAPE, dtype=torch.bool)
    chosen[:, 2, 5:9] = True
    before, shown = array.weight.clone(), array.read().clone()
    array.reset_at(chosen, torch.tensor(3))
    assert torch.equal(array.weight[~chosen], before[~chosen])
    assert torch.equal(array.read()[~chosen], shown[~chosen])
    assert not torch.equal(array.weight, before)


def drifting(nu: float, keys: list[int]) -> PulsedArray:
    devices = [SoftBoundsDevice(drift=DriftParameter(nu=nu, nu_dtod=0.3, nu_std=0.2, w_noise_std=0.01)) for _ in keys]
    made = PulsedArray(devices, [UpdateParameters() for _ in keys], SHAPE, keys)
    made.set(torch.full((len(keys), *SHAPE), 0.3))
    return made


def test_a_replica_drifts_as_it_would_alone() -> None:
    together, alone = drifting(0.1, [1, 2, 3]), drifting(0.1, [3])
    for elapsed in (1.0, 50.0):
        together.drift(elapsed)
        alone.drift(elapsed)
    assert torch.equal(together.weight[2], alone.weight[0])


def test_tensors_that_do_not_fit_are_refused() -> None:
    weight, keys, values = torch.zeros(2, 3, 4), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 7)
    given = [Values(values, values[:, k].reshape(-1, 1, 1)) for k in range(7)]
    with pytest.raises(ShapeError, match="min_bound"):
        Crosspoints(weight, None, [Values(values, one.view[:1]) for one in given], None, keys)
    with pytest.raises(ShapeError, match="keys"):
        Crosspoints(weight, None, given, None, keys[:1])
    with pytest.raises(ShapeError, match="apparent"):
        Crosspoints(weight, weight[:1], given, torch.zeros(2, 2), keys)
