"""Figures and numbers of the tutorial's studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["best_rates", "curves_of", "draw", "summary", "table"]


def table(data: xr.Dataset) -> pd.DataFrame:
    """Every run as a row: factors, replicate, what was measured; digital runs have ``digital`` in place of the factors."""
    import pandas as pd

    measured = [str(n) for n in data.data_vars if str(n) in ("accuracy", "loss") or str(n).startswith("epoch_")]
    analog = data[measured].to_dataframe().reset_index().dropna(subset=["accuracy"])
    several = [c for c in analog.columns if c in measured or c == "replicate" or analog[c].nunique() > 1]
    digital = data[[f"baseline_{n}" for n in measured]].to_dataframe().reset_index()
    digital.columns = [str(c).removeprefix("baseline_") for c in digital.columns]
    return pd.concat([analog[several].assign(network="analog"), digital.assign(network="digital")], ignore_index=True)


def curves_of(data: xr.Dataset) -> xr.DataArray:
    """Accuracy (epoch, ...) of a study that measured it after each epoch."""
    import xarray as xr

    names = sorted((str(n) for n in data.data_vars if str(n).startswith("epoch_")), key=lambda n: int(n[6:]))
    return xr.concat([data[n] for n in names], xr.Variable("epoch", np.arange(1, len(names) + 1))).squeeze()


def best_rates(data: xr.Dataset) -> dict[str, float]:
    """The learning rate of each algorithm at which its training loss ends lower."""
    loss = data.loss.mean("replicate").squeeze()
    return {str(a): float(loss["train.lr"][int(loss.sel(algorithm=a).values.argmin())]) for a in data.algorithm.values}


def summary(figure: str, data: xr.Dataset) -> dict[str, Any]:
    """What a figure shows in a few numbers, and the time of its tasks, beside whatever else the machine did."""
    seconds = float(data.wall_time.sum()) + float(data.get("baseline_wall_time", data.wall_time * 0).sum())
    out: dict[str, Any] = {"seconds": round(seconds), "digital": _shown(data.baseline_accuracy.values)}
    if figure == "fig8":
        final = curves_of(data).isel(epoch=-1)
        chosen = best_rates(data).items()
        out["accuracy"] = {a: {"lr": lr, **_shown(final.sel({"algorithm": a, "train.lr": lr}).values)} for a, lr in chosen}
    elif figure == "fig9":
        accuracy = data.accuracy.squeeze()
        out["accuracy"] = {f"{float(g):.4g}": _shown(one.values) for g, one in accuracy.groupby("device.auto_granularity")}
    else:
        from studies.targets import targets
        from studies.words import markdown_table

        out["targets"] = markdown_table(targets(data)).splitlines()
    return out


def _shown(values: np.ndarray[Any, Any]) -> dict[str, float]:
    flat = np.ravel(values)
    error = float(flat.std(ddof=1) / np.sqrt(flat.size)) if flat.size > 1 else float("nan")
    return {"mean": round(float(flat.mean()), 4), "error": round(error, 4)}


def draw(figure: str, data: xr.Dataset, path: Path) -> None:
    """Draw a figure as PNG."""
    import matplotlib as mpl

    from fitlab import plot

    with plot.style("paper"):
        mpl.rcParams["savefig.dpi"] = 130
        page = plot.new_figure()
        page.set_size_inches(4.2, 3.0)
        page.set_layout_engine("constrained")
        {"fig8": _fig8, "fig9": _fig9, "fig10": _fig10}[figure](data, page.subplots())
        plot.save(page, path)


def _fig8(data: xr.Dataset, ax: Axes) -> None:
    found = 100 * curves_of(data)
    for algorithm, lr in best_rates(data).items():
        one = found.sel({"algorithm": algorithm, "train.lr": lr})
        ax.errorbar(one.epoch, one.mean("replicate"), one.std("replicate"), marker="o", ms=3, capsize=2, label=algorithm)
    names = sorted((str(n) for n in data.data_vars if str(n).startswith("baseline_epoch_")), key=lambda n: int(n[15:]))
    digital = np.stack([100 * data[n].mean("replicate").values for n in names])
    rate = int(data.baseline_loss.mean("replicate").values.argmin())
    ax.plot(np.arange(1, len(names) + 1), digital[:, rate], color="0.3", linestyle="--", label="digital")
    ax.set(xlabel="epoch of 10,000 images", ylabel="test accuracy (%)")
    ax.legend(ncols=2, fontsize="small")


def _fig9(data: xr.Dataset, ax: Axes) -> None:
    one = 100 * data.accuracy.squeeze()
    x = one["device.auto_granularity"]
    ax.errorbar(x, one.mean("replicate"), one.std("replicate"), marker="o", ms=3, capsize=2, label="c-TTv2")
    ax.axhline(100 * float(data.baseline_accuracy.mean()), color="0.3", linestyle="--", label="digital")
    ax.set(xlabel="auto_granularity", ylabel="test accuracy (%)", xscale="log")
    ax.legend()


def _fig10(data: xr.Dataset, ax: Axes) -> None:
    ratio = 100 * data.accuracy / data.baseline_accuracy.squeeze()
    states = {0.0625: 17085, 0.25: 4271, 1.0: 1068}
    for step in ratio["device.dw_min"].values:
        one = ratio.sel({"device.dw_min": step}).squeeze()
        label = f"{states.get(float(step), float('nan')):.0f} states"
        ax.errorbar(100 * one.noise, one.mean("replicate"), one.std("replicate"), marker="o", ms=3, capsize=2, label=label)
    ax.axhline(99, color="0.3", linestyle="--")
    ax.set(xlabel="noise (% of the device's)", ylabel="accuracy / digital (%)", ylim=(60, 102))
    ax.legend()
