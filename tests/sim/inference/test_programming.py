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
    CustomPairConductanceConverter,
    DriftLaw,
    DualPairConductanceConverter,
    HermesNoiseModel,
    MeasuredNoiseModel,
    NPairConductanceConverter,
    PCMLikeNoiseModel,
    ReRamCMONoiseModel,
    ReRamWan2022NoiseModel,
    SingleDeviceConductanceConverter,
    SinglePairConductanceConverter,
    StateIndependentNoiseModel,
)
from sim.inference.programming import laws_of
from sim.settings import config

SHAPE = 9, 23


KINDS: tuple[Any, ...] = (
    PCMLikeNoiseModel, StateIndependentNoiseModel, CustomDriftPCMLikeNoiseModel, HermesNoiseModel, ReRamWan2022NoiseModel,
    ReRamCMONoiseModel, MeasuredNoiseModel,
)  # fmt: skip
# Classes that say nothing of their laws, so that these are done one after the other.
STEPS: dict[Any, Any] = {kind: config(type(f"StepByStep{kind.__name__}", (kind,), {"__module__": __name__})) for kind in KINDS}

MEASURED: dict[str, Any] = {
    "g_lst": (0.5, 3.0, 10.0, 22.0), "prog_std_lst": (0.1, 0.3, 0.2, 0.5), "drift_mean_lst": (0.01, 0.05, -0.02, 0.03),
    "drift_std_lst": (0.02, 0.01, 0.03, 0.005), "read_std_lst": (0.05, 0.1, 0.2, 0.1), "t_0": 3.0, "prog_noise_scale": 0.7,
    "read_noise_scale": 1.3, "drift_scale": 0.9,
}  # fmt: skip
RELAXATION: dict[str, Any] = {
    "acceptance_range": 2.0, "decay_dict": {"mean": (-0.2,), "std": (0.1, 0.3)}, "read_dict": {"K": 0.05, "t_read": 1e-5},
    "prog_noise_scale": 3.0, "read_noise_scale": 1.3, "drift_scale": 0.9,
}  # fmt: skip
TABLE = {"g_lst": (0.0, 5.0, 12.0, 25.0), "nu_mean_lst": (0.1, 0.02, 0.08, 0.05), "nu_std_lst": (0.04, 0.01, 0.03, 0.005)}
SINGLE = SingleDeviceConductanceConverter(g_max=30.0, g_min=2.0)
PAIRS = NPairConductanceConverter(f_lst=(1.0, 2.0, 4.0), g_max=25.0, g_min=1.0)

MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "PCM": (PCMLikeNoiseModel, {}),
    "PCM with other numbers": (
        PCMLikeNoiseModel,
        {
            "g_converter": SinglePairConductanceConverter(g_max=40.0, g_min=2.0), "g_max": 40.0,
            "prog_coeff": (0.3, 1.0, -0.5, 0.1), "t_0": 30.0, "t_read": 1e-6, "prog_noise_scale": 0.7, "read_noise_scale": 1.3,
            "drift_scale": 0.9,
        },
    ),
    "PCM without read noise": (PCMLikeNoiseModel, {"read_noise_scale": 0.0, "prog_noise_scale": 0.0}),
    "PCM on one device": (PCMLikeNoiseModel, {"g_converter": SINGLE}),
    "PCM on three pairs": (PCMLikeNoiseModel, {"g_converter": PAIRS}),
    "PCM on two pairs": (PCMLikeNoiseModel, {"g_converter": DualPairConductanceConverter(f_lst=(1.0, 3.0), g_max=25.0)}),
    "PCM of a table": (CustomDriftPCMLikeNoiseModel, {}),
    "PCM of another table": (CustomDriftPCMLikeNoiseModel, {"custom_drift_model": TABLE, "drift_scale": 0.9}),
    "one law for all": (StateIndependentNoiseModel, {}),
    "one law with other numbers": (
        StateIndependentNoiseModel,
        {"prog_coeff": (0.1, 0.2, 0.3), "drift_nu_mean": 0.05, "drift_nu_std": 0.1, "drift_scale": 2.0, "read_noise_scale": 3.0},
    ),
    "Hermes": (HermesNoiseModel, {}),
    "Hermes of one device": (HermesNoiseModel, {"num_devices": 1, "drift_scale": 0.9, "read_noise_scale": 1.3}),
    "snapshots": (ReRamWan2022NoiseModel, {}),
    "snapshots with other numbers": (
        ReRamWan2022NoiseModel,
        {"coeff_dic": {1.0: (0.5,), 100.0: (0.2, 3.0, -2.0, 0.1, 0.2, 0.1), 2e7: (1.0, 2.0)}, "noise_scale": 0.7, "g_max": 30.0},
    ),
    "snapshots on three pairs": (ReRamWan2022NoiseModel, {"g_converter": PAIRS}),
    "relaxation": (ReRamCMONoiseModel, {}),
    "relaxation with other numbers": (ReRamCMONoiseModel, RELAXATION),
    "relaxation on pairs": (ReRamCMONoiseModel, {"g_converter": SinglePairConductanceConverter(g_max=50.0, g_min=5.0)}),
    "tables": (MeasuredNoiseModel, {}),
    "tables of relaxation": (MeasuredNoiseModel, MEASURED),
    "tables of exponents": (MeasuredNoiseModel, MEASURED | {"law": DriftLaw.POWER}),
}  # fmt: skip
TIMES = 0.0, 1.0, 3600.0, 1e5


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
        for t in TIMES:
            array.drift_to(t)
            seen.append(array.programmed_weight().clone())
    devices = [v for d in array.devices for v in (*d.conductances, *d.coefficients)]
    return [*seen, *devices]  # type: ignore[list-item]


@pytest.mark.parametrize("name", MODELS)
def test_as_the_model_does_it_step_by_step(name: str) -> None:
    kind, fields = MODELS[name]
    given, steps = kind(**fields), STEPS[kind](**fields)
    # A neighbour with the numbers of its class, where it has as many devices a weight.
    other = {"g_converter": copy.deepcopy(given.g_converter)} if name.endswith(("device", "pairs")) else {}
    assert laws_of([given, kind(**other)]) is not None
    assert laws_of([steps]) is None
    here, there = life(array_of(given, kind(**other))), life(array_of(steps, STEPS[kind](**other)))
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-5, atol=5e-6)


def test_a_replica_is_programmed_as_it_would_be_alone() -> None:
    """Whatever the laws of its neighbours."""
    models = [
        PCMLikeNoiseModel(), PCMLikeNoiseModel(t_0=30.0), HermesNoiseModel(), CustomDriftPCMLikeNoiseModel(),
        ReRamWan2022NoiseModel(), MeasuredNoiseModel(**MEASURED),
        ReRamCMONoiseModel(g_converter=SinglePairConductanceConverter(g_max=50.0, g_min=5.0)),
    ]  # fmt: skip
    keys = tuple(range(3, 3 + len(models)))
    together = array_of(*models, keys=keys)
    assert laws_of(models) is not None
    all_seen = life(together)[: 1 + len(TIMES)]
    for r, model in enumerate(models):
        alone = array_of(model, keys=keys[r : r + 1])
        with torch.no_grad():
            alone.set(together.weight[r : r + 1].clone())
        for here, there in zip(all_seen, life(alone)[: 1 + len(TIMES)], strict=True):
            assert torch.equal(here[r], there[0])


LISTS = "prog_std_lst", "drift_mean_lst", "drift_std_lst", "read_std_lst"
SYMMETRIC = CustomPairConductanceConverter(g_lst=((0.0, 0.0, 25.0), (25.0, 0.0, 0.0)))


@pytest.mark.parametrize(
    "model",
    [
        PCMLikeNoiseModel(g_converter=SYMMETRIC),
        PCMLikeNoiseModel(g_converter=DualPairConductanceConverter(g_max=25.0)),
        PCMLikeNoiseModel(prog_coeff=(0.1,) * 7),
        ReRamWan2022NoiseModel(coeff_dic={2e7: (0.1,) * 7}),
        MeasuredNoiseModel(g_lst=tuple(range(65)), **dict.fromkeys(LISTS, (0.1,) * 65)),
    ],
    ids=["another converter", "more devices than its neighbour", "coefficients", "coefficients of a snapshot", "knots"],
)
def test_what_has_other_laws_is_done_step_by_step(model: Any) -> None:
    assert laws_of([PCMLikeNoiseModel(), model]) is None
    assert all(torch.isfinite(v).all() for v in life(array_of(model)))


def test_beyond_the_last_snapshot_nothing_was_measured() -> None:
    array = array_of(ReRamWan2022NoiseModel())
    array.program(array.models)
    with pytest.raises(ConfigError, match="last snapshot"):
        array.drift_to(1e6)


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
