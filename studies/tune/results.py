"""What a search leaves: the best settings, tested with fresh seeds beside those it started from; a history; a figure."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.configure import configured
from studies.folder import write_text
from studies.tune.plan import Plan
from studies.tune.trials import Found, Trial, scores_of

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Summary", "conclude"]

_FRESH = 1000
"""First number of the seeds of the test, which no trial has seen."""


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a search found.

    Parameters
    ----------
    best : Trial
        Without settings where no trial was better than the start.
    tuned, start : list of float
        Accuracy on the test set of each fresh seed, with the best settings and with those at the start.
    written : list of Path
    """

    best: Trial
    tuned: list[float]
    start: list[float]
    written: list[Path]

    def sentence(self) -> str:
        """Both accuracies with their standard errors."""
        if not self.best.settings:
            return f"No trial was better than the settings at the start: {_shown(self.start)} on the test set."
        return f"Tuned: {_shown(self.tuned)} on the test set, at the start {_shown(self.start)} ({len(self.tuned)} fresh seeds)."


def _shown(scores: Sequence[float]) -> str:
    kept = [s for s in scores if math.isfinite(s)]
    if not kept:
        return "every training diverged"
    error = f" +- {100 * np.std(kept, ddof=1) / math.sqrt(len(kept)):.1f}" if len(kept) > 1 else ""
    lost = f", {len(scores) - len(kept)} diverged" if len(kept) < len(scores) else ""
    return f"{100 * float(np.mean(kept)):.1f}{error} %{lost}"


def conclude(
    plan: Plan, folder: Path, found: Found, *, command: str = "fitlab tune", test_seeds: int = 5, client: Client | None = None
) -> Summary:
    """Test the best settings and those at the start, and write everything that the search found.

    Files: ``config.toml``, the configuration (``sim.configs.from_toml``); ``study.toml``, a study with it; ``history.csv``;
    ``history.svg`` and ``history.png``; ``result.json``.

    Parameters
    ----------
    plan : Plan
    folder : Path
    found : Found
    command : str
        How it was made, for the head of the files.
    test_seeds : int
        Fresh seeds of the test.
    client : Client, optional
    """
    best, trials = found.best, found.trials
    fresh = range(_FRESH, _FRESH + test_seeds)
    # One run of both: where structures agree they are replicas.
    points = [plan.resolved.study.point(dict(best.settings)), plan.point({})]
    tuned, start = scores_of(plan, points, fresh, client, held_out=False)
    summary = Summary(best, tuned, start, [folder / n for n in ("config.toml", "study.toml", "history.csv", "history.svg")])
    told = [f"# Made by: {command}", f"# {len(trials)} trials of {plan.seeds} seeds. {summary.sentence()}"]
    rate = best.settings.get("train.lr", plan.resolved.study.document.base.train.lr)
    write_text(folder / "config.toml", "\n".join([*told, f"# Learning rate: {rate:g}", config_text(plan, best)]))
    write_text(folder / "study.toml", "\n".join([*told, study_text(plan, best, folder)]))
    write_text(folder / "history.csv", history_text(plan, trials))
    record = {"best": best.number, "settings": best.settings, "validation": best.value, "test": {"tuned": tuned, "start": start}}
    write_text(folder / "result.json", json.dumps(record, indent=2) + "\n")
    draw(plan, found, folder)
    return summary


def config_text(plan: Plan, best: Trial) -> str:
    """The tuned configuration as TOML."""
    from sim.configs import to_toml

    return to_toml(configured(plan.resolved.config, best.settings))


def study_text(plan: Plan, best: Trial, folder: Path) -> str:
    """A study around the tuned simulation that asks the next question: how large may the device's step be?"""
    import tomli_w

    from sim.configs import numeric_paths

    base = plan.resolved.study.document.base.model_dump(exclude_none=True)
    base.pop("inference")
    if plan.resolved.inputs:
        (given,) = plan.resolved.inputs
        shutil.copyfile(given, folder / given.name)
        base["device"] = given.name
    if plan.resolved.data is not None:
        base["data"] = plan.resolved.data
    base["set"] |= {p: v for p, v in best.settings.items() if not p.startswith("train.")}
    base["train"] |= {p.removeprefix("train."): v for p, v in best.settings.items() if p.startswith("train.")}
    stepped = any(p.startswith("device.") and p.endswith(".dw_min") for p in numeric_paths(plan.resolved.config))
    factor: dict[str, Any] = {"multiply": [0.25, 0.5, 1.0, 2.0, 4.0]}
    return tomli_w.dumps(
        {
            "schema": "studies.study/1",
            "name": f"After tuning of {base['algorithm']}",
            "base": base,
            "factors": {"device.dw_min" if stepped else "train.lr": factor},
            "replicates": {"count": 5},
        }
    )


def history_text(plan: Plan, trials: Sequence[Trial]) -> str:
    """Every trial: its settings, mean accuracy, and the accuracy of each seed on the images held out."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", *(v.path for v in plan.space), "accuracy", *(f"seed_{s}" for s in range(plan.seeds))])
    for t in trials:
        writer.writerow([t.number, *(t.settings[v.path] for v in plan.space), f"{t.value:.6g}", *(f"{s:.6g}" for s in t.scores)])
    return text.getvalue()


def draw(plan: Plan, found: Found, folder: Path) -> None:
    """Accuracy over trials with the best so far and the start (dashed), and against each setting."""
    from fitlab import plot

    trials = found.trials
    value = 100 * np.array([t.value for t in trials])
    with plot.style("paper"):
        figure = plot.new_figure()
        figure.set_layout_engine("constrained")
        count = len(plan.space) + 1
        columns = min(count, 3)
        rows = -(-count // columns)
        figure.set_size_inches(2.3 * columns, 2.0 * rows)
        axes = np.ravel(figure.subplots(rows, columns, squeeze=False, sharey=True))
        axes[0].plot(value, "o", ms=3, color="0.6")
        axes[0].plot(np.maximum.accumulate(value), color="C0")
        axes[0].axhline(100 * found.start.value, color="0.3", linestyle="--")
        axes[0].set_xlabel("trial")
        for ax, v in zip(axes[1:], plan.space, strict=False):
            ax.scatter([t.settings[v.path] for t in trials], value, s=9, c=np.arange(len(trials)), cmap="viridis")
            ax.set_xlabel(v.path)
            if v.scale == "log":
                ax.set_xscale("log")
        for ax in axes[count:]:
            ax.set_visible(False)
        for ax in axes[::columns]:
            ax.set_ylabel("accuracy (%)")
        for kind in ("svg", "png"):
            plot.save(figure, folder / f"history.{kind}")
