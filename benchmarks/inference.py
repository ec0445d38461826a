"""Programming, drift and evaluation of a network, and a step of hardware-aware training."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.images import images
from benchmarks.table import Table, verdict
from benchmarks.timing import race, threads
from sim.configs import InferenceRPUConfig, IOParameters, WeightModifierParameter
from sim.inference import drift_analog_weights, program_analog_weights
from sim.nn import AnalogLinear, AnalogSequential, convert_to_analog
from sim.optim import AnalogSGD

__all__ = ["run"]

SIZES = (784, 256, 128, 10)
IMAGES = 10_000
BAR_EVALUATE = 60e-3
BAR_STEP = 1.5


def run(quick: bool = False) -> list[Table]:
    """One thread: 10,000 images of 784 pixels through 784-256-128-10, and one layer of 512 x 512 with a batch of 1,024."""
    threads(1)
    seconds = 0.5 if quick else 4.0
    return [_evaluation(seconds), _step(seconds)]


def _evaluation(seconds: float) -> Table:
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for n_in, out in itertools.pairwise(SIZES):
        layers += [torch.nn.Linear(n_in, out), torch.nn.ReLU()]
    digital = torch.nn.Sequential(*layers[:-1]).eval()
    model = convert_to_analog(digital, InferenceRPUConfig(), seeds=[1]).eval()
    x, _, source = images(IMAGES)

    def evaluate(net: torch.nn.Module) -> None:
        with torch.no_grad():
            for part in x.split(1000):
                net(part)

    def whole() -> None:
        program_analog_weights(model)
        drift_analog_weights(model, 3600.0)
        evaluate(model)

    t = race(
        {
            "program": partial(program_analog_weights, model), "drift": partial(drift_analog_weights, model, 3600.0),
            "evaluate": partial(evaluate, model), "all": whole, "torch": partial(evaluate, digital),
        },
        seconds,
    )  # fmt: skip
    table = Table(
        f"program, drift and evaluate {IMAGES} images ({source}), {'-'.join(map(str, SIZES))}, one thread [ms]",
        ["program", "drift", "evaluate", "all min", "all median", "digital model", "ratio", "bar"],
        notes=[
            "default InferenceRPUConfig: PCM, global compensation, noisy 7-bit / 9-bit products; digital: the same in torch.",
            "ratio: evaluation against the digital model.",
        ],
    )
    table.add(
        *(t[name].minimum * 1e3 for name in ("program", "drift", "evaluate", "all")), t["all"].median * 1e3,
        t["torch"].minimum * 1e3, t["evaluate"] / t["torch"], verdict(t["all"].minimum * 1e3, BAR_EVALUATE * 1e3),
    )  # fmt: skip
    return table


def _step(seconds: float) -> Table:
    torch.manual_seed(0)
    size, batch = 512, 1024
    x, target = torch.rand(batch, size) * 2 - 1, torch.rand(batch, size)
    config = InferenceRPUConfig(
        forward=IOParameters(inp_res=1 / 254, out_res=1 / 254, out_noise=0.04),
        modifier=WeightModifierParameter(type="ADD_NORMAL", std_dev=0.1),  # type: ignore[arg-type]
    )
    analog = AnalogSequential(AnalogLinear(size, size, rpu_config=config))
    digital = torch.nn.Linear(size, size)
    calls: dict[str, Callable[[], object]] = {
        "analog": _training(analog, AnalogSGD(analog.parameters(), lr=0.01), x, target),
        "torch": _training(digital, torch.optim.SGD(digital.parameters(), lr=0.01), x, target),
    }
    t = race(calls, seconds)
    table = Table(
        f"hardware-aware step, Linear {size} x {size}, batch {batch}, one thread [ms]",
        ["analog min", "analog median", "torch min", "ratio", "bar"],
        notes=["forward, backward, SGD; analog: 8-bit converters, output noise 0.04, additive weight noise of 10 %."],
    )
    ratio = t["analog"] / t["torch"]
    table.add(t["analog"].minimum * 1e3, t["analog"].median * 1e3, t["torch"].minimum * 1e3, ratio, verdict(ratio, BAR_STEP))
    return table


def _training(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, target: torch.Tensor
) -> Callable[[], object]:
    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), target).backward()
        optimizer.step()

    return step
