"""Replica r of R is the replica alone, bit for bit; and no number of threads changes a bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sim.configs import (
    ConstantStepDevice,
    ExpressionDevice,
    ExpStepDevice,
    FloatingPointRPUConfig,
    IOParameters,
    LinearStepDevice,
    MappingParameter,
    PiecewiseStepDevice,
    PowStepDevice,
    PowStepReferenceDevice,
    RPUConfig,
    SingleRPUConfig,
    SoftBoundsDevice,
    SoftBoundsReferenceDevice,
    TableDevice,
    UpdateParameters,
)
from sim.nn import AnalogLinear, AnalogSequential, Sigmoid
from sim.optim import AnalogSGD

R, BATCH, STEPS = 6, 10, 12
RATES = [0.1, 0.05, 0.1, 0.2, 0.1, 0.3]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def variant(kind: str, r: int) -> RPUConfig:
    """Configuration of replica r: every numeric field that can differs between the replicas."""
    io = IOParameters(
        out_noise=0.02 * r, inp_noise=0.01 * (r % 3), w_noise=0.01 * r, w_noise_type="ADDITIVE_CONSTANT", out_bound=4.0 + r
    )
    update = UpdateParameters(desired_bl=4 + r, um_grad_scale=1.0 + 0.1 * r)
    common = {"dw_min": 0.002 * (r + 1), "dw_min_dtod": 0.1 * r, "dw_min_std": 0.1 * r, "diffusion": 1e-4 * (r % 2)}
    mapping = MappingParameter(weight_scaling_omega=0.3 * (r % 2))
    devices = {
        "constant": lambda: ConstantStepDevice(**common, lifetime=100.0 * (r % 3)),
        "linear": lambda: LinearStepDevice(**common, gamma_up=0.1 * r, gamma_up_dtod=0.05 * (r % 2)),
        "soft": lambda: SoftBoundsDevice(**common, write_noise_std=float(r % 2)),
        "reference": lambda: SoftBoundsReferenceDevice(**common, write_noise_std=0.5 * (r % 3), reference_std=0.1 * (r % 2)),
        "exp": lambda: ExpStepDevice(**common, A_up=0.1 * r, gamma_down=2.0 + r, dw_min_std_add=1e-3 * (r % 2)),
        "pow": lambda: PowStepDevice(**common, pow_gamma=1.0 + 0.3 * r, pow_gamma_dtod=0.1 + 0.1 * (r % 2)),
        "pow reference": lambda: PowStepReferenceDevice(**common, reference_std=0.1 * (r % 2), subtract_symmetry_point=True),
        "piecewise": lambda: PiecewiseStepDevice(**common, piecewise_up=[1.0, 0.2 * r, 1.5], piecewise_down=[0.1 * r, 1.0, 0.5]),
        "expression": lambda: ExpressionDevice(
            **common,
            up="dw_min*exp(a*w)",
            down="dw_min*(1 - 0.5*w)",
            parameters={"a": 0.2 + 0.2 * r},
            dtod={"a": 0.1 + 0.1 * (r % 2)},
        ),
        "table": lambda: TableDevice(**common, rows=2, up=[0.1 * r, 1.0, 0.0, 2.0], down=[0.5, 1.0, 1.0, 1.0 + 0.1 * r]),
    }
    if kind == "digital":
        return FloatingPointRPUConfig()
    return SingleRPUConfig(device=devices[kind](), forward=io, backward=io, update=update, mapping=mapping)


def model_of(configs: list[Any], seeds: list[int]) -> nn.Module:
    return AnalogSequential(
        AnalogLinear(30, 17, rpu_config=configs, seeds=seeds, stream="first"),
        Sigmoid(),
        AnalogLinear(17, 10, rpu_config=configs, seeds=seeds, stream="second"),
        nn.LogSoftmax(-1),
    )


def trained(configs: list[Any], seeds: list[int], rates: list[float], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    model = model_of(configs, seeds)
    optimizer = AnalogSGD(model.parameters(), lr=rates, momentum=0.5, weight_decay=1e-3)
    n = len(seeds)
    for step in range(STEPS):
        optimizer.zero_grad()
        out = model(x[:, step].reshape(-1, 30))
        losses = nn.functional.nll_loss(out, y[:, step].reshape(-1), reduction="none").reshape(n, BATCH)
        losses.mean(1).sum().backward()
        optimizer.step()
    return model.state_dict()


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(R, STEPS, BATCH, 30, generator=generator), torch.randint(0, 10, (R, STEPS, BATCH), generator=generator)


def assert_same(group: dict[str, Tensor], alone: dict[str, Tensor], r: int) -> None:
    compared = 0
    for name, value in alone.items():
        if name.endswith(("steps", "step", "analog_ctx", "_extra_state")) or name not in group:
            continue
        if group[name].shape[1:] != value.shape[1:]:
            continue  # a plane that another replica of the group needs
        assert torch.equal(group[name][r : r + 1], value), f"{name} of replica {r}"
        compared += 1
    assert compared >= 6


KINDS = ["constant", "linear", "soft", "reference", "exp", "pow", "pow reference", "piecewise", "expression", "table", "digital"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_replica_is_itself_alone(kind: str) -> None:
    x, y = data()
    configs, seeds = [variant(kind, r) for r in range(R)], list(range(100, 100 + R))
    torch.set_num_threads(2)
    group = trained(configs, seeds, RATES, x, y)
    torch.set_num_threads(1)
    for r in range(R):
        alone = trained([configs[r]], [seeds[r]], [RATES[r]], x[r : r + 1], y[r : r + 1])
        assert_same(group, alone, r)
    pair = trained(configs[2:4], seeds[2:4], RATES[2:4], x[2:4], y[2:4])
    assert_same(group, {k: v[1:2] if v.dim() and v.shape[0] == 2 else v for k, v in pair.items()}, 3)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_change_no_bit(threads: int) -> None:
    x, y = data()
    configs, seeds = [variant("reference", r) for r in range(R)], list(range(R))
    torch.set_num_threads(1)
    one = trained(configs, seeds, RATES, x, y)
    torch.set_num_threads(threads)
    many = trained(configs, seeds, RATES, x, y)
    assert all(torch.equal(value, many[name]) for name, value in one.items())


def test_seeds_and_streams_tell_layers_and_replicas_apart() -> None:
    layer = AnalogLinear(5, 4, rpu_config=[SingleRPUConfig()] * 2, seeds=[1, 2], stream="a")
    other = AnalogLinear(5, 4, rpu_config=[SingleRPUConfig()] * 2, seeds=[1, 2], stream="b")
    assert not torch.equal(layer.get_weights()[0][0], layer.get_weights()[0][1])
    assert not torch.equal(layer.get_weights()[0], other.get_weights()[0])
