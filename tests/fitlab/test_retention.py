"""Noise models from retention data: simulated devices come back, files are read, the command line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fitlab.cli import app
from fitlab.errors import FitError, ReadError
from fitlab.retention import Retention, fit_retention, read_retention
from sim.configs import InferenceRPUConfig
from sim.errors import ConfigError
from sim.inference import BaseNoiseModel, DriftLaw, MeasuredNoiseModel
from sim.settings import from_toml
from sim.tiles import InferenceTile

TIMES = (1.0, 60.0, 3600.0, 86400.0)


def simulated(model: MeasuredNoiseModel, n: int = 4000, seed: int = 0) -> Retention:
    """Devices of the model, read at a few times."""
    torch.manual_seed(seed)
    target = torch.linspace(2.0, 24.0, n)
    programmed = model.apply_programming_noise_to_conductance(target)
    own = model.generate_drift_coefficients(target)
    times = [0.0, *TIMES]
    reads = [model.apply_drift_noise_to_conductance(programmed, own, t) for t in times]
    device = np.tile(np.arange(n), len(times))
    return Retention(
        device, np.repeat(times, n), torch.cat(reads).double().numpy(), np.tile(target.double().numpy(), len(times)), "µS", "x"
    )


MODELS = [
    MeasuredNoiseModel(
        law="LOGARITHM", t_0=0.5, g_lst=(2.0, 24.0), prog_std_lst=(0.2, 0.6), drift_mean_lst=(0.02, -0.1),
        drift_std_lst=(0.05, 0.2), read_std_lst=(0.02, 0.1),
    ),
    MeasuredNoiseModel(
        law="POWER", t_0=20.0, g_lst=(2.0, 24.0), prog_std_lst=(0.1, 0.5), drift_mean_lst=(0.08, 0.04),
        drift_std_lst=(0.02, 0.01), read_std_lst=(0.05, 0.3),
    ),
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.law.name)
def test_simulated_devices_come_back(model: MeasuredNoiseModel) -> None:
    found = fit_retention(simulated(model), bins=8).model
    assert found.law is model.law
    assert found.t_0 == pytest.approx(model.t_0, rel=0.35)
    g = np.array(found.g_lst)
    for name, tolerance in (("prog_std_lst", 0.12), ("drift_mean_lst", 0.15), ("drift_std_lst", 0.12), ("read_std_lst", 0.12)):
        true = np.interp(g, model.g_lst, getattr(model, name))
        np.testing.assert_allclose(getattr(found, name), true, rtol=tolerance, atol=0.1 * np.abs(true).max())


def test_read_noise_takes_reads_at_three_times() -> None:
    data = simulated(MODELS[0])
    twice = data.time <= 1.0
    short = Retention(data.device[twice], data.time[twice], data.g[twice], None, "µS", "x")
    found = fit_retention(short)
    assert not any(found.model.read_std_lst)
    assert any("three times" in note for note in found.notes)
    assert not any("three times" in note for note in fit_retention(data).notes)


def test_a_fitted_model_works_at_once() -> None:
    model = fit_retention(simulated(MODELS[0])).model
    tile = InferenceTile(5, 6, InferenceRPUConfig(noise_model=model)).eval()
    tile.drift_weights(3600.0)
    assert bool(torch.isfinite(tile(torch.ones(1, 6))).all())


def test_opposite_directions_flat_errors_and_negative_reads_are_told() -> None:
    data = simulated(MODELS[0])
    assert any("opposite" in note for note in fit_retention(data).notes)
    assert not any("flat" in note for note in fit_retention(data).notes)
    assert data.target is not None
    window = data.g - np.random.default_rng(0).uniform(-0.6, 0.6, len(data.g))
    flat = Retention(data.device, data.time, data.g, window, "µS", "x")
    assert any("flat" in note for note in fit_retention(flat).notes)
    below = data.g.copy()
    below[-1] = -0.1
    assert any(
        "1 reads are below 0" in note for note in fit_retention(Retention(data.device, data.time, below, None, "µS", "x")).notes
    )
    with pytest.raises(FitError, match="read twice"):
        fit_retention(Retention(np.arange(3), np.zeros(3), np.ones(3), None, "µS", "x"))


def wide(path: Path) -> Path:
    rows = [f"{k},{100 * k + 50},{100 * k + 52},{100 * k + 49 + k}" for k in range(1, 12)]
    path.write_text("state,day0,day1,day5\n" + "\n".join(rows) + "\n")
    return path


def test_wide_files(tmp_path: Path) -> None:
    data = read_retention(wide(tmp_path / "state_current_nA.csv"))
    assert data.time[:3].tolist() == [0.0, 86400.0, 5 * 86400.0]
    assert data.g.max() == 25.0
    assert "1.16e-06 A are 25" in data.unit
    real = read_retention(wide(tmp_path / "state_current_nA.csv"), read_voltage=0.1)
    assert real.g[0] == pytest.approx(150e-9 / 0.1 * 1e6)
    assert fit_retention(data).devices.sum() == 11


def test_long_files(tmp_path: Path) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("cell,time_s,g_uS,target\n7,0,10,11\n7,60,9,11\n3,0,5,5\n3,60,4.5,5\n")
    data = read_retention(path)
    assert data.device.tolist() == [1, 1, 0, 0]
    assert data.g.tolist() == pytest.approx([10, 9, 5, 4.5])
    assert data.target is not None
    assert data.target.tolist() == pytest.approx([11, 11, 5, 5])
    bare = tmp_path / "bare.tsv.gz"
    bare.write_bytes(gzip.compress(b"7\t0\t1e-5\n7\t60\t9e-6\n"))
    same = read_retention(bare, {"device": "1", "time": "2", "value": "3"}, "S")
    assert same.g.tolist() == pytest.approx([10, 9])


def test_files_of_other_programs(tmp_path: Path) -> None:
    """Encodings, decimal commas, units of time and of resistance, workbooks, missing reads: as in pulse responses."""
    german = tmp_path / "zellen.csv"
    german.write_text("Zelle;Zeit (h);R (kOhm)\n1;0,5;100,0\n1;1,0;125,0\n2;0,5;50,0\n2;1,0;80,0\n", encoding="utf-16")
    data = read_retention(german, {"device": "Zelle"})
    assert data.time.tolist() == [1800, 3600, 1800, 3600]
    assert data.g.tolist() == pytest.approx([10, 8, 20, 12.5])
    gaps = tmp_path / "gaps.csv"
    gaps.write_text("cell,t_min,I [nA]\n" + "".join(f"{k // 3},{k % 3},{5 + k if k != 4 else 'nan'}\n" for k in range(12)))
    data = read_retention(gaps, read_voltage=0.5)
    assert data.g.tolist() == pytest.approx([(5 + k) * 2e-3 for k in range(12) if k != 4])
    assert data.time.max() == 120
    assert data.notes == ("gaps.csv: 1 of 12 reads are missing and were left out",)
    assert "1 of 12 reads" in str(fit_retention(data))
    openpyxl = pytest.importorskip("openpyxl", reason="workbooks are read by openpyxl")
    book = openpyxl.Workbook()
    for row in [["cell", "time", "G (uS)"], [1, 0, 9.0], [1, 60, 8.0], [2, 0, 5.0], [2, 60, 4.0]]:
        book.active.append(row)
    book.save(tmp_path / "book.xlsx")
    assert read_retention(tmp_path / "book.xlsx").g.tolist() == pytest.approx([9, 8, 5, 4])


def test_several_files_are_devices_of_their_own(tmp_path: Path) -> None:
    for k in range(3):
        rows = "".join(
            f"{c},{t},{10 * (c + 1) * (1 - 0.02 * k) * (1 + t) ** -0.05:.6f}\n" for c in range(4) for t in (0, 60, 3600)
        )
        (tmp_path / f"die{k}.csv").write_text("cell,time_s,g_uS\n" + rows)
    files = [tmp_path / f"die{k}.csv" for k in range(3)]
    data = read_retention(files)
    assert sorted(set(data.device.tolist())) == list(range(12))
    assert data.source == "die0.csv + die1.csv + die2.csv"
    assert fit_retention(data).devices.sum() == 12
    done = CliRunner().invoke(app, ["fit", "--kind", "retention", *map(str, files), "-o", str(tmp_path / "noise.toml")])
    assert done.exit_code == 0, done.output
    (tmp_path / "amperes.csv").write_text("cell,time_s,I_nA\n0,0,5\n0,60,4\n")
    with pytest.raises(ReadError, match=r"amperes\.csv: the values are A here but S in die0\.csv"):
        read_retention([files[0], tmp_path / "amperes.csv"])


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("a,b\n1,2\n3,4\n", {}, "no column of time"),
        ("t,g_uS\n0,1\n1,2\n2,x\n3,3\n", {}, r"x\.csv:4:2: 'x' of column 'g_uS' is not a number"),
        ("t,g\n0,1\n1,2\n", {}, r"x\.csv:1:2: no unit"),
        ("t,g\n0,1\n1,2\n", {"unit": "parsec"}, "not known"),
        ("t (K),g_uS\n0,1\n1,2\n", {}, "has the unit 'K', which is none of time"),
        ("t,R_ohm\n0,1\n1,0\n", {}, "not above 0"),
        ("t,g_uS\n0,1\n1,\n2,\n3,2\n", {}, "2 of 4 reads are missing, more than a fifth"),
        ("t,g_uS\n-1,1\n2,2\n", {}, "below 0"),
        ("t\n0\n1\n", {}, "one column"),
        ("t,g_uS\n0,1\n1,2\n", {"columns": {"value": "h"}}, "no column 'h'"),
        ("t,g_uS\n0,1\n1,2\n", {"columns": {"pulse": "t"}}, "no role 'pulse'"),
    ],
)
def test_bad_files_are_refused(text: str, options: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ReadError, match=words):
        read_retention(path, **options)
    with pytest.raises(ReadError, match="no such file"):
        read_retention(tmp_path / "none.csv")


def test_the_command_line(tmp_path: Path) -> None:
    source = wide(tmp_path / "state_current_nA.csv")
    done = CliRunner().invoke(app, ["fit", "--kind", "retention", str(source), "-o", str(tmp_path / "noise.toml")])
    assert done.exit_code == 0, done.output
    assert "opposite" in done.output or "law" in done.output
    model = from_toml((tmp_path / "noise.toml").read_text(), BaseNoiseModel)
    assert isinstance(model, MeasuredNoiseModel)
    assert model.law in DriftLaw
    bad = CliRunner().invoke(app, ["fit", "--kind", "relaxation", str(source)])
    assert bad.exit_code != 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("law", "POWER"), ("t_0", 5.0), ("prog_std_lst", (1.0, 1.0)), ("drift_mean_lst", (0.3, 0.3)),
        ("drift_std_lst", (0.3, 0.3)),
        ("read_std_lst", (0.5, 0.5)), ("prog_noise_scale", 3.0), ("drift_scale", 3.0), ("g_lst", (2.0, 90.0)), ("g_max", 50.0),
    ],
)  # fmt: skip
def test_no_field_of_the_model_is_ignored(path: str, value: Any) -> None:
    def drifted(model: MeasuredNoiseModel) -> torch.Tensor:
        tile = InferenceTile(9, 9, InferenceRPUConfig(noise_model=model), seeds=[1], stream="t").eval()
        tile.drift_weights(3600.0)
        return tile.array.programmed_weight()

    changed = from_toml(_text(MODELS[0]), MeasuredNoiseModel)
    setattr(changed, path, value)
    assert not torch.equal(drifted(changed), drifted(MODELS[0]))
    noisy = MeasuredNoiseModel(read_std_lst=(0.5, 0.5))
    assert not torch.equal(drifted(noisy), drifted(MeasuredNoiseModel(read_std_lst=(0.5, 0.5), read_noise_scale=2.0)))


def _text(model: MeasuredNoiseModel) -> str:
    from sim.settings import to_toml

    return to_toml(model)


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"g_lst": (3.0, 1.0)}, "rising"), ({"prog_std_lst": (1.0,)}, "prog_std_lst has 1"), ({"t_0": 0.0}, "t_0")],
)
def test_bad_models_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        MeasuredNoiseModel(**fields)
