"""The command line: what it writes, its exit codes, what it imports."""

import subprocess
import sys
from pathlib import Path

import pytest

import sim.presets
from fitlab.cli import main
from fitlab.parameters import load

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "data" / "reram_8cells.csv"


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "fitlab.cli", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two devices of the example."""
    folder = tmp_path_factory.mktemp("cli")
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    (folder / "two.csv").write_text(
        "\n".join(lines[:2] + [x for x in lines if x.startswith(("R01", "R02"))]) + "\n", encoding="utf-8"
    )
    return folder


def test_fit_writes_a_set_and_a_figure_and_show_reads_them(small, tmp_path):
    done = run(
        "fit", small / "two.csv", "--model", "SoftBoundsReference", "-o", "cell.toml", "--figure", "cell.svg", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "dw_min" in done.stdout
    assert "\x1b" not in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cell.svg", "cell.toml"]
    document = load(tmp_path / "cell.toml")
    assert document.device.model == "SoftBoundsReferenceDevice"
    assert document.protocol.devices == 2
    shown = run("show", "cell.toml", "--figure", "device.png", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert f"{document.parameters['dw_min'].value:.4g}" in shown.stdout
    assert (tmp_path / "device.png").stat().st_size > 1000


def test_fit_takes_formulas(small, tmp_path):
    formulas = ("--set", "up=dw_min*exp(-a*w)", "--set", "down=dw_min*exp(b*w)", "--set", "parameters={a=1.0, b=1.0}")
    done = run("fit", small / "two.csv", "--model", "ExpressionDevice", *formulas, "-o", "cell.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    device = load(tmp_path / "cell.toml").to_device()
    assert device.up == "dw_min*exp(-a*w)"
    assert set(device.parameters) == {"a", "b"}
    for arguments, text in (
        (formulas, "add --model ExpressionDevice"),
        (("--model", "ExpressionDevice", "--set", "up=dw_min*z"), "there is no 'z'"),
    ):
        done = run("fit", small / "two.csv", *arguments, "-o", "other.toml", cwd=tmp_path)
        assert done.returncode == 2
        assert text in done.stderr


def test_show_prints_devices_and_measurements(small, tmp_path):
    preset = run("show", "ReRamSBPresetDevice", "--set", "dw_min=0.01", "-o", "a.svg", cwd=tmp_path)
    assert preset.returncode == 0, preset.stderr
    assert "SoftBoundsReferenceDevice" in preset.stdout
    assert "200 (range over the step" in preset.stdout
    assert "source: N. Gong" in preset.stdout
    assert "symmetry point" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    data = run("show", small / "two.csv", cwd=tmp_path)
    assert data.returncode == 0, data.stderr
    assert "2 device(s)" in data.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]


def test_presets_are_listed_and_drawn(tmp_path):
    listed = run("presets", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    for name in (*sim.presets.names("cell"), *sim.presets.names("config")):
        assert f"  {name}  " in listed.stdout
        assert sim.presets.get(name).note in listed.stdout
    for name in sim.presets.names("device"):
        (line,) = [x for x in listed.stdout.splitlines() if x.split()[:1] == [name]]
        preset = sim.presets.get(name)
        assert preset.citation in line
        assert preset.cls.__name__ in line
        assert f"{preset().dw_min:.4g}" in line
    drawn = run("presets", "PCMPresetDevice", "ReRamArrayOMPresetDevice", "-o", "two.svg", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert "PCMPresetDevice" in (tmp_path / "two.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "none.csv"], "none.csv: there is no such file"),
        (["fit", "{data}", "--model", "Banana"], "no such model; choose from auto"),
        (["fit", "{data}", "--figure", "a.gif"], "figures are written as .svg, .png or .pdf"),
        (["fit", "{data}", "-o", "{data}"], "is one of the input files"),
        (["fit", "{data}", "-o", "no/where.toml"], "does not exist; make it or choose another"),
        (["fit", "{data}", "--columns", "rows"], "--columns rows: use devices or cycles"),
        (["fit", "{data}", "--read-voltage", "3 apples"], "is not a quantity in V; write for example '0.1 V'"),
        (["fit", "{data}", "--read-voltage", "0"], "use a voltage that is not zero"),
        (["fit", "{data}", "--map", "value"], "write ROLE=COLUMN"),
        (["fit", "{data}", "--map", "value=nope"], "there is no column 'nope'"),
        (["fit", "{data}", "--format", "tape"], "there is no such format"),
        (["show", "SoftBoundDevice"], "is neither a file nor a device (did you mean 'SoftBoundsDevice'"),
        (["show", "IdealDevice"], "takes no pulses, so there is no response to show; device models are ConstantStepDevice"),
        (["show", "PresetIOParameters"], "is a preset of periphery, not of a device; device presets are ReRam"),
        (["show", "ReRamSBPresetDevice", "--set", "dw_min"], "write FIELD=VALUE, for example --set dw_min=0.001"),
        (["show", "ReRamSBPresetDevice", "--set", "dw_min=a"], "dw_min = 'a' is not allowed: give a number above 0"),
        (["show", "ReRamSBPresetDevice", "--set", "dw=1"], "SoftBoundsReferenceDevice has no field 'dw'"),
        (["show", "ReRamSBPresetDevice", "--set", "w_max=1", "--set", "w_max=2"], "w_max is set twice; give it once"),
        (["show", "{data}", "--set", "w_max=1"], "is a measurement, which has no fields"),
        (["presets", "--all", "PCMPresetDevice"], "give names, or --all"),
        (["presets", "-o", "a.svg"], "say which presets to draw; give names, or --all"),
        (["presets", "--all", "-o", "a.gif"], "figures are written as .svg, .png or .pdf"),
        (["show", "none.toml"], "there is no such file"),
        (["fit"], "Missing argument"),
        (["fitt"], "No such command"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(small, tmp_path, arguments, message, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fitlab", *(a.replace("{data}", str(small / "two.csv")) for a in arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    said = capsys.readouterr()
    assert done.value.code == 2, said
    assert message in " ".join(said.err.replace("│", " ").split())
    assert "Traceback" not in said.err + said.out
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_ours_is_not_replaced(small, tmp_path):
    (tmp_path / "notes.toml").write_text("mine = true\n", encoding="utf-8")
    done = run("fit", small / "two.csv", "-o", "notes.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "is no parameter set; choose another name" in done.stderr
    assert (tmp_path / "notes.toml").read_text(encoding="utf-8") == "mine = true\n"


def test_a_fault_of_the_program_is_exit_code_1_without_traceback(tmp_path):
    code = (
        "import fitlab.io, fitlab.cli, sys\n"
        "def broken(*a, **k): raise RuntimeError('boom')\n"
        "fitlab.io.read_record = broken\n"
        f"sys.argv = ['fitlab', 'show', {str(EXAMPLE)!r}]\n"
        "fitlab.cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "Internal error: RuntimeError: boom" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_finds_everything_or_says_what_is_missing(tmp_path):
    done = run("doctor", cwd=tmp_path)
    assert done.returncode == (1 if "missing:" in done.stdout else 0)
    assert "compiled core: present" in done.stdout
    assert "torch threads" in done.stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nsys.argv = ['fitlab', '--help']\n"
        "import fitlab.cli\n"
        "try:\n    fitlab.cli.main()\nexcept SystemExit as done:\n    assert done.code in (0, None)\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pandas', 'xarray', 'matplotlib', 'pint', 'lmfit', 'zarr', 'dask', "
        "'distributed', 'pydantic'}\n"
        "found = heavy & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for command in ("fit", "report", "show", "export", "presets", "formats", "doctor", "study"):
        assert command in done.stdout


def test_a_fit_imports_only_what_it_uses(small, tmp_path):
    code = (
        "import sys\nfrom fitlab.io import read_record\nfrom fitlab.fit import fit, parameter_set\n"
        f"document = parameter_set(fit(read_record({str(small / 'two.csv')!r}), 'SoftBoundsReference'))\n"
        f"document.save({str(tmp_path / 'x.toml')!r})\n"
        "found = {'torch', 'matplotlib.pyplot', 'xarray', 'dask', 'pint'} & "
        "set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
