"""Learning a fixed matrix with an imperfect reference: SGD, TTv2, chopped TTv2 and AGAD.

After Fig. 4 of M. J. Rasch et al., Nat. Commun. 15, 7133 (2024). An array learns a target matrix, sample by sample, from random
inputs; the devices of the fast array (of the only one, for SGD) have a symmetry point that was subtracted with an error of
``reference_std``. The figure of merit is the standard deviation of W - target.

    python -m studies.offset [--out FOLDER] [--states N] [--seeds N]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.design import seed_of

if TYPE_CHECKING:
    import xarray as xr

    from sim.configs import RPUConfig

__all__ = ["ALGORITHMS", "OFFSETS", "config_of", "learn", "run"]

ALGORITHMS = ("sgd", "ttv2", "c-ttv2", "agad")
OFFSETS = (0.0, 0.1, 0.3, 1.0)
SIZE = 20
SCHEDULE = ((20_000, 0.05), (5_000, 0.01))
"""Steps and their learning rate."""
LOOK_EVERY, LOOKS = 500, 10


def config_of(algorithm: str, states: float, offset: float) -> RPUConfig:
    """The algorithm on soft-bounds devices of that many states; the array that holds the weights has no offset."""
    from sim.configs import IOParameters, SoftBoundsReferenceDevice, build_config, get_path, set_path

    def device(reference_std: float) -> SoftBoundsReferenceDevice:
        return SoftBoundsReferenceDevice(
            dw_min=2.0 / states, dw_min_dtod=0.3, dw_min_dtod_log_normal=True, dw_min_std=0.3, up_down=0.0, up_down_dtod=0.1,
            w_max_dtod=0.0, w_min_dtod=0.0, mult_noise=False, enforce_consistency=True,
            subtract_symmetry_point=True, reference_std=reference_std,
        )  # fmt: skip

    both: Any = device(offset) if algorithm == "sgd" else [device(offset), device(0.0)]
    config = build_config(algorithm, both)
    set_path(config, "forward", IOParameters(is_perfect=True))
    assert get_path(config, "forward").is_perfect
    return config  # type: ignore[no-any-return]


def learn(configs: Sequence[RPUConfig], seeds: Sequence[int], schedule: Sequence[tuple[int, float]] = SCHEDULE) -> np.ndarray:
    """Standard deviation of W - target for each replica, mean of the last looks.

    Parameters
    ----------
    configs : sequence of R configurations of one structure
    seeds : sequence of R seeds; target, inputs and devices follow from them
    schedule : numbers of steps, and their learning rates

    Returns
    -------
    ndarray, (R,)
    """
    import torch

    from sim.tiles import AnalogTile

    count = len(seeds)
    tile = AnalogTile(SIZE, SIZE, list(configs), seeds=list(seeds), stream="offset")
    tile.set_weights(torch.zeros(SIZE, SIZE))
    generators = [np.random.default_rng(seed_of(0, seed, "data", None)) for seed in seeds]
    target = np.stack([np.clip(g.normal(0.0, 0.3, (SIZE, SIZE)), -0.6, 0.6) for g in generators]).astype(np.float32)
    goal = torch.from_numpy(target)
    looks: list[np.ndarray] = []
    for steps, rate in schedule:
        tile.set_learning_rate(rate)
        for start in range(0, steps, LOOK_EVERY):
            n = min(LOOK_EVERY, steps - start)
            inputs = torch.from_numpy(np.stack([g.normal(size=(n, SIZE)).astype(np.float32) for g in generators], axis=1))
            for x in inputs:
                error = tile(x) - torch.bmm(goal, x.unsqueeze(2)).squeeze(2)
                tile.update(x, error.detach())
                tile.end_step()
            weight = tile.get_weights()[0]
            looks.append((weight - goal).flatten(1).double().std(1).numpy())
    return np.mean(looks[-LOOKS:], axis=0) if count else np.empty(0)


def run(states: float = 20, seeds: int = 4) -> xr.Dataset:
    """All algorithms and offsets: ``deviation`` (algorithm, reference_std, seed)."""
    import xarray as xr

    values = np.empty((len(ALGORITHMS), len(OFFSETS), seeds))
    for a, algorithm in enumerate(ALGORITHMS):
        configs = [config_of(algorithm, states, offset) for offset in OFFSETS for _ in range(seeds)]
        values[a] = learn(configs, list(range(len(configs)))).reshape(len(OFFSETS), seeds)
    return xr.Dataset(
        {"deviation": (("algorithm", "reference_std", "seed"), values, {"long_name": "standard deviation of W - target"})},
        coords={"algorithm": list(ALGORITHMS), "reference_std": list(OFFSETS), "seed": np.arange(seeds)},
        attrs={"states": float(states), "source": "M. J. Rasch et al., Nat. Commun. 15, 7133 (2024), Fig. 4"},
    )


def draw(data: xr.Dataset, path: Path) -> None:
    """Deviation over the error of the reference, one line an algorithm."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(4.2, 3.0), layout="constrained")
    for algorithm in data.algorithm.values:
        one = data.deviation.sel(algorithm=algorithm)
        axes.errorbar(data.reference_std, one.mean("seed"), one.std("seed"), marker="o", capsize=3, label=str(algorithm))
    axes.set(xlabel="error of the reference (weight)", ylabel="std of W - target", yscale="log")
    axes.set_title(f"{data.attrs['states']:g} states")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study; writes ``offset.json`` and ``offset.png``."""
    parser = argparse.ArgumentParser(prog="python -m studies.offset", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("offset-output"))
    parser.add_argument("--states", type=float, default=20)
    parser.add_argument("--seeds", type=int, default=4)
    given = parser.parse_args(arguments)
    start = time.perf_counter()
    data = run(given.states, given.seeds)
    given.out.mkdir(parents=True, exist_ok=True)
    record = {"states": given.states, "seeds": given.seeds, "seconds": round(time.perf_counter() - start, 1)}
    record["deviation"] = {
        str(a): {str(o): [round(float(v), 4) for v in data.deviation.sel(algorithm=a, reference_std=o)] for o in OFFSETS}
        for a in ALGORITHMS
    }
    (given.out / "offset.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(data, given.out / "offset.png")
    print(data.deviation.mean("seed").round(3).to_pandas().to_string())


if __name__ == "__main__":
    main()
