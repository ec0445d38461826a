"""Programming and drift of all replicas in one pass are those of the noise models, weight by weight."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sim.arrays.inference import InferenceArray
from sim.configs import InferenceRPUConfig
from sim.errors import ConfigError
from sim.inference import (
    CustomDriftPCMLikeNoiseModel,
    DualPairConductanceConverter,
    PCMLikeNoiseModel,
    SinglePairConductanceConverter,
    StateIndependentNoiseModel,
)
from sim.inference.pairs import laws_of
from sim.settings import config

SHAPE = 9, 23


@config
class StepByStepPCM(PCMLikeNoiseModel):
    """Says nothing of its laws, so that they are done one after the other."""


@config
class StepByStepStateIndependent(StateIndependentNoiseModel):
    """Likewise."""


MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "PCM": (PCMLikeNoiseModel, StepByStepPCM, {}),
    "PCM with other numbers": (
        PCMLikeNoiseModel, StepByStepPCM,
        {
            "g_converter": SinglePairConductanceConverter(g_max=40.0, g_min=2.0), "g_max": 40.0,
            "prog_coeff": (0.3, 1.0, -0.5, 0.1), "t_0": 30.0, "t_read": 1e-6, "prog_noise_scale": 0.7, "read_noise_scale": 1.3,
            "drift_scale": 0.9,
        },
    ),
    "PCM without read noise": (PCMLikeNoiseModel, StepByStepPCM, {"read_noise_scale": 0.0, "prog_noise_scale": 0.0}),
    "one law for all": (StateIndependentNoiseModel, StepByStepStateIndependent, {}),
    "one law with other numbers": (
        StateIndependentNoiseModel, StepByStepStateIndependent,
        {"prog_coeff": (0.1, 0.2, 0.3), "drift_nu_mean": 0.05, "drift_nu_std": 0.1, "drift_scale": 2.0, "read_noise_scale": 3.0},
    ),
}  # fmt: skip


def array_of(*models: Any, keys: tuple[int, ...] = (3, 2**63 + 1)) -> InferenceArray:
    configs = [InferenceRPUConfig(noise_model=model) for model in models]
    array = InferenceArray(configs, SHAPE, keys[: len(models)])
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(len(models), *SHAPE, generator=generator)
    weight[:, 0, :3] = torch.tensor([0.0, 1e-6, -1e-6])
    with torch.no_grad():
        array.set(weight)
    return array.eval()


def life(array: InferenceArray) -> list[Tensor]:
    with torch.no_grad():
        array.program([copy.deepcopy(model) for model in array.models])
        seen = [array.programmed_weight().clone()]
        for t in (0.0, 1.0, 3600.0, 1e7):
            array.drift_to(t)
            seen.append(array.programmed_weight().clone())
    devices = [v for d in array.devices for v in (*d.conductances, *d.coefficients)]
    return [*seen, *devices]  # type: ignore[list-item]


@pytest.mark.parametrize("name", MODELS)
def test_as_the_model_does_it_step_by_step(name: str) -> None:
    kind, steps, fields = MODELS[name]
    assert laws_of([kind(**fields)]) is not None
    assert laws_of([steps(**fields)]) is None
    for here, there in zip(life(array_of(kind(**fields), kind())), life(array_of(steps(**fields), steps())), strict=True):
        torch.testing.assert_close(here, there, rtol=2e-5, atol=2e-6)


def test_a_replica_is_programmed_as_it_would_be_alone() -> None:
    together, alone = (
        array_of(PCMLikeNoiseModel(), PCMLikeNoiseModel(t_0=30.0)),
        array_of(PCMLikeNoiseModel(t_0=30.0), keys=(2**63 + 1,)),
    )
    with torch.no_grad():
        alone.set(together.weight[1:].clone())
    for here, there in zip(life(together)[:5], life(alone)[:5], strict=True):
        assert torch.equal(here[1], there[0])


@pytest.mark.parametrize(
    "model",
    [
        CustomDriftPCMLikeNoiseModel(),
        PCMLikeNoiseModel(g_converter=DualPairConductanceConverter(g_max=25.0)),
        PCMLikeNoiseModel(prog_coeff=(0.1,) * 7),
    ],
    ids=["another law", "another converter", "too many coefficients"],
)
def test_what_has_other_laws_is_done_step_by_step(model: PCMLikeNoiseModel) -> None:
    assert laws_of([PCMLikeNoiseModel(), model]) is None
    assert all(torch.isfinite(v).all() for v in life(array_of(model)))


def test_times_before_programming_are_refused() -> None:
    array = array_of(PCMLikeNoiseModel())
    array.program(array.models)
    for t in (-1.0, math.nan):
        with pytest.raises(ConfigError, match="t_inference"):
            array.drift_to(t)


def test_programmed_devices_are_saved_and_go_on() -> None:
    array, other = array_of(PCMLikeNoiseModel()), array_of(PCMLikeNoiseModel())
    array.program(array.models)
    other.load_state_dict(array.state_dict())
    for one in (array, other):
        one.drift_to(100.0)
    assert torch.equal(array.programmed_weight(), other.programmed_weight())
