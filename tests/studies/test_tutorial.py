"""The training figures of the tutorial: their device, their studies, their records."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fitlab.fit import fit, parameter_set
from fitlab.io import read
from fitlab.parameters import ParameterSet, load
from studies.data import load as load_data
from studies.demo import EXAMPLE
from studies.tutorial.__main__ import HERE, main
from studies.tutorial.device import STEP_NOISE, centred, fitted

MEASURED = Path(os.environ.get("FITLAB_SHARED", Path(__file__).parents[2].parent / "shared")) / "data" / "measured"
RESULTS = HERE / "results"


def step(found: ParameterSet, w: float, up: bool) -> float:
    """Mean step of a pulse, by hand."""
    f = found.device.fields
    if up:
        return f["dw_min"] * (1 + min(f["up_down"], 0)) * (1 - f["gamma_up"] * w / f["w_max"])
    return f["dw_min"] * (1 - max(f["up_down"], 0)) * (1 - f["gamma_down"] * w / f["w_min"])


def test_a_centred_device_is_the_same_device() -> None:
    old = parameter_set(fit(read([EXAMPLE]), "LinearStep"), None)
    new = centred(old)
    shift = new.device.fields["w_max"] - old.device.fields["w_max"]
    assert abs(shift) > 0.01
    assert new.device.fields["w_min"] - old.device.fields["w_min"] == pytest.approx(shift)
    for up in (True, False):
        assert step(new, 0.0, up) == pytest.approx(new.device.fields["dw_min"])
        for w in (-0.5, 0.1, 0.7):
            assert step(new, w + shift, up) == pytest.approx(step(old, w, up))
            assert new.weight.to_value(w + shift) == pytest.approx(old.weight.to_value(w))
    noise = [p.device.fields["write_noise_std"] * p.device.fields["dw_min"] for p in (old, new)]
    assert noise[0] == pytest.approx(noise[1])
    assert "symmetry point" in new.warnings[-1]
    new.to_device()


def test_the_device_is_fitted_to_the_measured_response() -> None:
    path = MEASURED / "aihwkit_gong2018" / "gong_et_al.csv"
    if not path.exists():
        pytest.skip(f"the measured response is not here ({path}); set FITLAB_SHARED to its folder")
    kept, found = load(HERE / "device.toml"), fitted(path)
    assert kept.device.fields == pytest.approx(found.device.fields, rel=1e-3)
    assert kept.device.fields["dw_min_std"] == STEP_NOISE


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits in the place of MNIST."""
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    images = load_data("digits", None)
    parts = {"train_x": images.train_x[:40], "train_y": images.train_y[:40], "test_x": images.test_x[:20]}
    np.savez(path, **parts, test_y=images.test_y[:20])
    return path


@pytest.mark.parametrize(("figure", "rows"), [("fig8", 28), ("fig9", 12), ("fig10", 80)])
def test_a_figure_is_one_command(figure: str, rows: int, small: Path, tmp_path: Path) -> None:
    fewer = ["--set", "train.images=20", "--set", "network.hidden=4"]
    epochs = [] if figure == "fig8" else ["--set", "train.epochs=1"]
    command = [figure, "--data", str(small), "--out", str(tmp_path), "--workers", "1", *fewer, *epochs]
    assert main(command) == 0
    assert (tmp_path / f"{figure}.png").read_bytes()[:4] == b"\x89PNG"
    found = pd.read_csv(tmp_path / f"{figure}.csv")
    assert len(found) == rows
    assert set(found.network) == {"analog", "digital"}
    # what is committed has the same columns and as many runs
    kept = pd.read_csv(RESULTS / f"{figure}.csv")
    assert list(kept.columns) == list(found.columns)
    assert len(kept) == rows
    assert (
        json.loads((RESULTS / f"{figure}.json").read_text()).keys()
        == json.loads((tmp_path / f"{figure}.json").read_text()).keys()
    )


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["fig8"], "--data: is missing"),
        (["device"], "--measured: is missing"),
        (["fig10", "--data", str(tmp_path / "none")], "is not a folder"),
    ):
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err


def kept(figure: str) -> dict[str, Any]:
    return dict(json.loads((RESULTS / f"{figure}.json").read_text()))


def test_recorded_algorithms() -> None:
    found = kept("fig8")["accuracy"]
    for better in ("ttv2", "c-ttv2", "agad", "mp"):
        error = float(np.hypot(found[better]["error"], found["sgd"]["error"]))
        assert found[better]["mean"] - found["sgd"]["mean"] > 5 * error


def test_recorded_noise() -> None:
    """More states bear more noise, relative to their step."""
    found = pd.read_csv(RESULTS / "fig10.csv")
    digital = found[found.network == "digital"].accuracy.mean()
    ratio = found[found.network == "analog"].groupby(["device.dw_min", "noise"]).accuracy.mean().unstack() / digital
    assert (ratio[0.0] > 0.99).all()
    assert (ratio[2.0].diff().dropna() < 0).all()
    assert ratio[2.0].min() < 0.8
