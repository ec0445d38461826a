"""Plain against hardware-aware training on phase-change memory, over the year after programming.

Networks for MNIST, small enough that the devices matter, are trained digitally, and then for as many epochs again in three ways:

plain           digitally, as before
converters      through the product of the chip (8-bit converters, noise of outputs and reads, IR drop), weights clipped
hardware-aware  the same, and each mini-batch sees weights with errors as a year after programming (modifier PCM_NOISE)

Each is programmed onto PCM (`PCMLikeNoiseModel`) and tested through that same product, with input ranges calibrated where they
were not learned, and with and without global compensation of drift. Settings were chosen on 10,000 of the training images;
the test images were looked at once.

    python -m studies.hardware_aware --data FOLDER [--out FOLDER] [--seeds N] [--network mlp|lenet] [--epochs N]

Conditions of the chip: `StandardHWATrainingPreset` (M. J. Rasch et al., Nat. Commun. 14, 5282 (2023)).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.data import Images, load

if TYPE_CHECKING:
    from torch import nn

    from sim.configs import InferenceRPUConfig

__all__ = ["CASES", "NETWORKS", "TIMES", "draw", "interval", "run"]

CASES = ("plain", "converters", "hardware-aware")
NETWORKS = {"mlp": "784-32-32-10", "lenet": "LeNet with 6 and 12 channels"}
YEAR = 365 * 86400.0
TIMES = (1.0, 3600.0, 86400.0, 30 * 86400.0, YEAR)
COMPENSATIONS = ("global", "none")
BATCH, MOMENTUM, RATE, SECOND_RATE = 64, 0.9, 0.1, 0.05
CLIP_SIGMA, QUANTILE, CALIBRATED_WITH = 2.0, 0.9995, 1000


def chip(case: str) -> InferenceRPUConfig:
    """The configuration of a case."""
    from sim.configs import InferenceRPUConfig, IOParameters, WeightClipParameter, WeightClipType, WeightModifierType
    from sim.presets import StandardHWATrainingPreset

    if case == "exact":
        return InferenceRPUConfig(forward=IOParameters(is_perfect=True))
    made: InferenceRPUConfig = StandardHWATrainingPreset()
    made.clip = WeightClipParameter(type=WeightClipType.LAYER_GAUSSIAN, sigma=CLIP_SIGMA)
    if case == "hardware-aware":
        made.modifier.type, made.modifier.std_dev, made.modifier.pcm_t_inference = WeightModifierType.PCM_NOISE, 1.0, YEAR
    return made


def network(name: str, images: Images, config: InferenceRPUConfig, seeds: Sequence[int]) -> Any:
    """A network with ReLUs, one replica a seed."""
    from torch import nn

    from sim.nn import AnalogConv2d, AnalogLinear, AnalogSequential

    how: dict[str, Any] = {"rpu_config": config, "replicas": len(seeds), "seeds": list(seeds)}
    pixels = images.train_x.shape[1]
    if name == "mlp":
        return AnalogSequential(
            AnalogLinear(pixels, 32, stream="fc1", **how), nn.ReLU(), AnalogLinear(32, 32, stream="fc2", **how), nn.ReLU(),
            AnalogLinear(32, images.classes, stream="fc3", **how),
        )  # fmt: skip
    side = ((images.shape[1] - 4) // 2 - 4) // 2
    return AnalogSequential(
        nn.Unflatten(1, images.shape),
        AnalogConv2d(images.shape[0], 6, 5, stream="conv1", **how), nn.ReLU(), nn.MaxPool2d(2),
        AnalogConv2d(6, 12, 5, stream="conv2", **how), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        AnalogLinear(12 * side * side, 48, stream="fc1", **how), nn.ReLU(),
        AnalogLinear(48, images.classes, stream="fc2", **how),
    )  # fmt: skip


def train(model: nn.Module, images: Images, seeds: Sequence[int], stage: int, epochs: int, rate: float) -> None:
    """Stochastic gradient descent with momentum, the rate falling to 0 as a cosine; each replica has its own order."""
    import torch
    from torch.nn import functional

    from sim.optim import AnalogSGD

    x, y = torch.from_numpy(images.train_x), torch.from_numpy(images.train_y)
    orders = [np.random.default_rng([seed, stage]) for seed in seeds]
    optimizer = AnalogSGD(model.parameters(), lr=rate, momentum=MOMENTUM)
    per_epoch = len(y) // BATCH
    model.train()
    for epoch in range(epochs):
        order = torch.from_numpy(np.stack([generator.permutation(len(y)) for generator in orders]))
        for k in range(per_epoch):
            for group in optimizer.param_groups:
                group["lr"] = rate * 0.5 * (1.0 + math.cos(math.pi * (epoch * per_epoch + k) / (epochs * per_epoch)))
            chosen = order[:, k * BATCH : (k + 1) * BATCH].reshape(-1)
            optimizer.zero_grad()
            # The sum over replicas of each one's mean: every replica has the gradient it would have alone.
            (functional.cross_entropy(model(x[chosen]), y[chosen], reduction="sum") / BATCH).backward()
            optimizer.step()
    model.eval()


def run(
    images: Images, name: str = "mlp", seeds: int = 8, epochs: int = 4, programmings: int = 5, times: Sequence[float] = TIMES
) -> dict[str, Any]:
    """Accuracies of all cases.

    Parameters
    ----------
    images : data set
    name : one of `NETWORKS`
    seeds : networks; start values, order of the data and all noise follow from a seed
    epochs : of the digital training, and again of each case
    programmings : of each network; the accuracy of a seed is their mean

    Returns
    -------
    dict
        ``digital`` (seed), and ``accuracy`` by compensation, case and time (seed)
    """
    import torch

    from sim.configs import get_path
    from sim.inference import Accuracy, NoDriftCompensation, evaluate
    from sim.nn import calibrate_input_ranges

    numbers = list(range(seeds))
    test = Accuracy(torch.from_numpy(images.test_x), torch.from_numpy(images.test_y))
    start = network(name, images, chip("exact"), numbers)
    train(start, images, numbers, 0, epochs, RATE)

    def continued(case: str) -> Any:
        model = network(name, images, chip(case), numbers)
        for tile, trained in zip(model.analog_tiles(), start.analog_tiles(), strict=True):
            tile.set_weights(*trained.get_weights())
        if case != "exact":
            _calibrate(model)
        train(model, images, numbers, 1, epochs, SECOND_RATE)
        return model

    def _calibrate(model: Any) -> None:
        first = torch.from_numpy(images.train_x[:CALIBRATED_WITH]).repeat(seeds, 1)
        calibrate_input_ranges(model, "CACHE_QUANTILE", [first], quantile=QUANTILE)

    digital = continued("exact")
    found: dict[str, Any] = {"digital": test(digital).tolist(), "accuracy": {kind: {} for kind in COMPENSATIONS}}
    for case in CASES:
        if case == "plain":
            model = network(name, images, chip("converters"), numbers)
            for tile, trained in zip(model.analog_tiles(), digital.analog_tiles(), strict=True):
                tile.set_weights(*trained.get_weights())
            _calibrate(model)
        else:
            model = continued(case)
        for kind in COMPENSATIONS:
            if kind == "none":
                for tile in model.analog_tiles():
                    for config in tile.configs:
                        config.drift_compensation = NoDriftCompensation()
                assert get_path(next(model.analog_tiles()).configs[0], "drift_compensation") == NoDriftCompensation()
            values = evaluate(model, test, times, programmings * seeds).values.reshape(len(times), programmings, seeds)
            found["accuracy"][kind][case] = {f"{t:g}": v.mean(0).tolist() for t, v in zip(times, values, strict=True)}
    return found


def interval(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean over seeds, and half the width of its 95 % interval (Student)."""
    from scipy.stats import t

    v = np.asarray(values, float)
    return float(v.mean()), float(t.ppf(0.975, len(v) - 1) * v.std(ddof=1) / math.sqrt(len(v)))


def draw(record: dict[str, Any], path: Path) -> None:
    """Accuracy over time with 95 % intervals; lines with global compensation, dots without."""
    from matplotlib.figure import Figure

    from studies.inference import TIME_NAMES

    figure = Figure(figsize=(4.8, 3.2), layout="constrained")
    axes = figure.subplots()
    for k, case in enumerate(CASES):
        for kind, style in zip(COMPENSATIONS, ("-o", ":"), strict=True):
            at = {float(t): interval(v) for t, v in record["accuracy"][kind][case].items()}
            mean, half = (100 * np.array([v[j] for v in at.values()]) for j in (0, 1))
            label = case if kind == "global" else None
            axes.errorbar(list(at), mean, half, fmt=style, color=f"C{k}", capsize=2, markersize=3, label=label)
    axes.axhline(100 * interval(record["digital"])[0], color="0.5", linewidth=0.8, label="digital")
    low = min(interval(v)[0] for v in record["accuracy"]["none"]["plain"].values())
    axes.set(xscale="log", xlabel="time after programming", ylabel="accuracy [%]", ylim=(max(100 * low, 80.0), None))
    axes.set_xticks([t for t in TIMES if t in TIME_NAMES], [TIME_NAMES[t] for t in TIMES if t in TIME_NAMES])
    axes.minorticks_off()
    axes.set_title(NETWORKS[record["network"]] + " (dotted: no compensation)", fontsize=9)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study; writes ``hardware_aware_NETWORK.json`` and ``.png``."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.hardware_aware", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--data", required=True, help="folder of the four MNIST files, or `digits`")
    parser.add_argument("--out", type=Path, default=Path("hardware-aware-output"))
    parser.add_argument("--network", choices=list(NETWORKS), default="mlp")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=4)
    given = parser.parse_args(arguments)
    images = load("digits", None) if given.data == "digits" else load("mnist", given.data)
    start = time.perf_counter()
    found = run(images, given.network, given.seeds, given.epochs)
    record = {"network": given.network, "seeds": given.seeds, "epochs": given.epochs, **_rounded(found)}
    record["seconds"] = round(time.perf_counter() - start)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"hardware_aware_{given.network}.json"
    path.write_text(json.dumps(record, indent=None).replace('"global"', '\n"global"').replace('"none"', '\n"none"') + "\n")
    draw(record, path.with_suffix(".png"))
    print(report(record))


def report(record: dict[str, Any]) -> str:
    """Means with 95 % intervals in percent, and the paired gain after the last time."""
    lines = [f"{NETWORKS[record['network']]}, {record['seeds']} seeds; digital: {_shown(record['digital'])} %"]
    for kind in COMPENSATIONS:
        lines.append(f"compensation {kind}")
        for case in CASES:
            at = record["accuracy"][kind][case]
            lines.append(f"  {case:15}" + "".join(f" {t:>10} s: {_shown(v)}" for t, v in at.items()))
        last = [np.array(list(record["accuracy"][kind][case].values())[-1]) for case in ("hardware-aware", "plain")]
        lines.append(f"  gain of hardware-aware over plain at the last time: {_shown(last[0] - last[1])} points")
    return "\n".join(lines)


def _shown(values: Sequence[float] | np.ndarray) -> str:
    mean, half = interval(values)
    return f"{100 * mean:.2f} ± {100 * half:.2f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [round(float(v), 5) for v in value]


if __name__ == "__main__":
    main()
