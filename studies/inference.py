"""Accuracy of inference over the time after programming, as a labelled dataset and a figure.

ds = inference_dataset({"PCM": evaluate(model, Accuracy(x, y)), "ReRAM": ...}, metric="accuracy", unit="1")
save(figure_of_inference(ds), "inference.svg")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from studies.errors import StudyError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from sim.inference import Evaluation

__all__ = ["TIME_NAMES", "figure_of_inference", "inference_dataset"]

TIME_NAMES = {1.0: "1 s", 60.0: "1 min", 3600.0: "1 h", 86400.0: "1 d", 30 * 86400.0: "1 month", 365 * 86400.0: "1 a"}


def inference_dataset(
    evaluations: Mapping[str, Evaluation], metric: str = "accuracy", unit: str = "1", baseline: float | None = None
) -> xr.Dataset:
    """Results of `sim.inference.evaluate` side by side.

    Parameters
    ----------
    evaluations : by the name of what was evaluated (a noise model, a training); of the same times
    metric : name of what was measured
    unit : its unit; ``1`` for a fraction
    baseline : value of the model without devices

    Returns
    -------
    xarray.Dataset
        The metric over ``case``, ``t_inference`` (s) and ``programming`` (NaN where a case has fewer), its mean and spread.

    Raises
    ------
    StudyError
        for nothing to show, or cases with different times
    """
    import xarray as xr

    if not evaluations:
        raise StudyError("there is no evaluation to show: give at least one")
    results = list(evaluations.values())
    times = results[0].t_inference.numpy()
    for name, result in evaluations.items():
        if not np.array_equal(result.t_inference.numpy(), times):
            raise StudyError(f"{name}: was evaluated at other times than {next(iter(evaluations))}; evaluate all at the same")
    width = max(result.values.shape[1] for result in results)
    values = np.full((len(results), len(times), width), np.nan)
    for k, result in enumerate(results):
        values[k, :, : result.values.shape[1]] = result.values.numpy()
    about = {"units": unit}
    ds = xr.Dataset(
        {
            metric: (("case", "t_inference", "programming"), values, about),
            f"{metric}_mean": (("case", "t_inference"), np.stack([r.mean.numpy() for r in results]), about),
            f"{metric}_std": (("case", "t_inference"), np.stack([r.std.numpy() for r in results]), about),
        },
        {
            "case": np.array(list(evaluations), dtype=object),
            "t_inference": ("t_inference", times, {"units": "s", "long_name": "time after programming"}),
            "programming": np.arange(width),
        },
        {"metric": metric},
    )
    if baseline is not None:
        ds.attrs["baseline"] = float(baseline)
    return ds


def figure_of_inference(ds: xr.Dataset) -> Figure:
    """Mean and spread over repeated programming against time, one line a case."""
    from matplotlib.figure import Figure

    metric = ds.attrs["metric"]
    figure = Figure(figsize=(4.8, 3.2), layout="constrained")
    axes = figure.subplots()
    times = np.maximum(ds.t_inference.values, 1.0)
    for case in ds.case.values:
        mean, std = ds[f"{metric}_mean"].sel(case=case).values, ds[f"{metric}_std"].sel(case=case).values
        (line,) = axes.plot(times, mean, marker="o", markersize=3, label=str(case))
        axes.fill_between(times, mean - std, mean + std, color=line.get_color(), alpha=0.2, linewidth=0)
    if "baseline" in ds.attrs:
        axes.axhline(ds.attrs["baseline"], color="0.4", linestyle="--", linewidth=0.8, label="without devices")
    axes.set_xscale("log")
    shown = {t: name for t, name in TIME_NAMES.items() if times.min() <= t <= times.max()}
    if shown:
        axes.set_xticks(list(shown), list(shown.values()))
        axes.minorticks_off()
    unit = ds[metric].attrs["units"]
    axes.set_xlabel("time after programming")
    axes.set_ylabel(metric if unit == "1" else f"{metric} [{unit}]")
    axes.legend(frameon=False)
    return figure
