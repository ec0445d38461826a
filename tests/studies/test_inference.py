"""Inference over time as a dataset and a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sim.configs import InferenceRPUConfig
from sim.inference import Accuracy, Evaluation, StateIndependentNoiseModel, evaluate
from sim.nn import AnalogLinear, AnalogSequential
from studies.errors import StudyError
from studies.inference import figure_of_inference, inference_dataset

TIMES = [0.0, 3600.0, 86400.0]


def evaluated() -> dict[str, Evaluation]:
    made = AnalogSequential(AnalogLinear(8, 3, rpu_config=InferenceRPUConfig(), seeds=[1], stream="a"))
    x = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = made.eval()(x).argmax(dim=1)
    return {
        "PCM": evaluate(made, Accuracy(x, labels), TIMES, 4),
        "flat": evaluate(made, Accuracy(x, labels), TIMES, 2, StateIndependentNoiseModel()),
    }


def test_dataset_and_figure(tmp_path: Path) -> None:
    found = evaluated()
    ds = inference_dataset(found, baseline=1.0)
    assert dict(ds.sizes) == {"case": 2, "t_inference": 3, "programming": 4}
    np.testing.assert_array_equal(ds.accuracy.sel(case="PCM").values, found["PCM"].values)
    assert bool(ds.accuracy.sel(case="flat", programming=3).isnull().all())
    np.testing.assert_allclose(ds.accuracy_mean.sel(case="flat"), found["flat"].mean)
    np.testing.assert_allclose(ds.accuracy_std.sel(case="PCM"), found["PCM"].std)
    assert ds.t_inference.attrs["units"] == "s"
    figure = figure_of_inference(ds)
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["PCM", "flat", "without devices"]
    figure.savefig(tmp_path / "x.svg")


def test_what_does_not_go_together_is_refused() -> None:
    found = evaluated()
    with pytest.raises(StudyError, match="at least one"):
        inference_dataset({})
    other = Evaluation(found["flat"].t_inference * 2, found["flat"].values)
    with pytest.raises(StudyError, match="flat: was evaluated at other times"):
        inference_dataset({"PCM": found["PCM"], "flat": other})
