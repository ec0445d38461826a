"""Metrics over repeated programming and time, and the error budget of a tile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sim.configs import InferenceRPUConfig, IOParameters
from sim.errors import ConfigError
from sim.inference import Accuracy, PCMLikeNoiseModel, StateIndependentNoiseModel, evaluate
from sim.nn import AnalogLinear, AnalogSequential

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0


def model(replicas: int | None = None, **fields: Any) -> AnalogSequential:
    config = InferenceRPUConfig(forward=IOParameters(is_perfect=True), **fields)
    seeds = list(range(replicas or 1))
    layer = AnalogLinear(20, 5, rpu_config=config, replicas=replicas, seeds=seeds, stream="a")
    w = torch.linspace(-1, 1, 100).reshape(5, 20).cos()
    layer.set_weights(w, torch.zeros(replicas, 5) if replicas else torch.zeros(5))
    return AnalogSequential(layer)


def mean_weight(net: torch.nn.Module) -> torch.Tensor:
    return torch.stack([layer.analog_module.array.programmed_weight().mean(dim=(1, 2)) for layer in net.analog_layers()])[0]  # type: ignore[operator]


def test_the_table() -> None:
    made = model(drift_compensation=None)
    was = made.state_dict()["0.analog_module.array.weight"].clone()
    result = evaluate(made, mean_weight, [0.0, DAY, YEAR], n_repeats=6)
    assert result.values.shape == (3, 6)
    assert len(set(result.values[0].tolist())) == 6
    np.testing.assert_allclose(result.mean, result.values.mean(dim=1))
    np.testing.assert_allclose(result.std, result.values.numpy().std(axis=1, ddof=1))
    assert result.mean[0] > result.mean[1] > result.mean[2]
    assert made.training
    assert torch.equal(made.state_dict()["0.analog_module.array.weight"], was)
    assert str(result).count("\n") == 3


def test_replicas_are_repeats() -> None:
    result = evaluate(model(4), mean_weight, [HOUR], n_repeats=7)
    assert result.values.shape == (1, 7)
    alone = evaluate(model(), mean_weight, [HOUR], n_repeats=2)
    assert result.values[0, [0, 4]].tolist() == alone.values[0].tolist()


def test_another_noise_model() -> None:
    made = model()
    evaluate(made, mean_weight, [HOUR], 1, StateIndependentNoiseModel())
    (tile,) = made.analog_tiles()
    assert isinstance(tile.rpu_config.noise_model, StateIndependentNoiseModel)  # type: ignore[attr-defined]


@pytest.mark.parametrize("replicas", [None, 3])
def test_accuracy(replicas: int | None) -> None:
    quiet = PCMLikeNoiseModel(prog_noise_scale=0.0, read_noise_scale=0.0, drift_scale=0.0)
    made = model(replicas, noise_model=quiet).eval()
    x = torch.randn(23, 20, generator=torch.Generator().manual_seed(0))
    labels = (x @ torch.linspace(-1, 1, 100).reshape(5, 20).cos().T).argmax(dim=1)
    wrong = labels.clone()
    wrong[:5] = (wrong[:5] + 1) % 5
    for batch in (7, 100):
        assert Accuracy(x, labels, batch)(made).tolist() == [1.0] * (replicas or 1)
        assert Accuracy(x, wrong, batch)(made).tolist() == pytest.approx([18 / 23] * (replicas or 1))
    with pytest.raises(ConfigError, match="one label"):
        Accuracy(x, labels[:3])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: evaluate(torch.nn.Linear(2, 3), mean_weight), "no inference tile"),
        (lambda: evaluate(model(), mean_weight, []), "at least one time"),
        (lambda: evaluate(model(), mean_weight, n_repeats=0), "at least one"),
        (lambda: evaluate(model(2), lambda _net: 1.0, [1.0]), "1 values for 2 replicas"),
        (lambda: evaluate(AnalogSequential(model(2), model(3)), mean_weight), "different numbers"),
    ],
)
def test_bad_calls_are_refused(call: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call()


def test_error_budget_of_phase_change_memory() -> None:
    """Relative error of products: programming and read noise at 1 s, and drift with one factor a tile."""
    torch.manual_seed(0)
    w = (torch.randn(512, 512) * 0.246).clamp(-1, 1)
    x = (torch.rand(1000, 512) * 2 - 1) * (torch.rand(1000, 512) < 0.5)
    forward = IOParameters(
        inp_res=1 / 254, out_res=1 / 254, out_bound=10.0, out_noise=0.04, w_noise=0.01,
        w_noise_type="ADDITIVE_CONSTANT", ir_drop=1.0,  # type: ignore[arg-type]
    )  # fmt: skip
    layer = AnalogSequential(AnalogLinear(512, 512, False, InferenceRPUConfig(forward=forward), seeds=[1], stream="a"))
    layer[0].set_weights(w)
    exact = x @ w.T

    def error(net: torch.nn.Module) -> float:
        with torch.no_grad():
            return float((net(x) - exact).norm() / exact.norm()) * 100

    alone = error(layer.eval())
    assert alone == pytest.approx(4.62, abs=0.15)
    result = evaluate(layer, error, [1.0, HOUR, DAY, YEAR], n_repeats=3).mean.tolist()
    assert result[0] == pytest.approx(14.2, abs=0.3)
    assert result[1:] == pytest.approx([16.2, 18.3, 23.0], abs=0.5)
