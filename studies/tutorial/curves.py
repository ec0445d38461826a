"""A task of the studies: accuracy after every epoch."""

from __future__ import annotations

import dataclasses

from studies.errors import StudyError
from studies.records import Job
from studies.task import Control
from studies.train import classify

__all__ = ["EPOCHS", "curves"]

EPOCHS = 6


def curves(job: Job, control: Control) -> list[dict[str, float]]:
    """As ``mnist-mlp``, with the accuracy after each epoch as a metric of its own."""
    if job.train["epochs"] != EPOCHS:
        raise StudyError(f"train.epochs = {job.train['epochs']}: this task measures {EPOCHS} epochs")
    seen: list[list[float]] = []
    results = classify(dataclasses.replace(job, task="mnist-mlp"), control, each=seen.append)
    return [r | {f"epoch_{e}": found[i] for e, found in enumerate(seen, 1)} for i, r in enumerate(results)]


curves.metrics = ("accuracy", "loss", *(f"epoch_{e}" for e in range(1, EPOCHS + 1)))  # type: ignore[attr-defined]
