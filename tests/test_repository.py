"""The distribution as a whole: what is imported is ours, imports are light, versions agree, the README runs."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("sim", "fitlab", "studies")
HEAVY = {"torch", "matplotlib", "pandas", "xarray", "zarr", "dask", "distributed", "pint", "scipy", "lmfit", "numpy"}


def modules(package: str) -> list[str]:
    """A package and everything in it, by its files: listing imports nothing."""
    files = sorted((ROOT / package).rglob("*.py"))
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


def fresh(code: str) -> str:
    """What a new interpreter prints; it has no warning to give either."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def heavy_after(statement: str) -> set[str]:
    """Heavy libraries that a statement brings along in a new interpreter."""
    return HEAVY & set(fresh(f"import sys\n{statement}\nprint(*sys.modules)").split())


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_this_distributions(package):
    # `sim` and `studies` are common names: another distribution's would shadow ours.
    code = f"import {package}; print({package}.__file__)"
    assert Path(fresh(code).strip()).parent == ROOT / package
    assert set(importlib.metadata.packages_distributions().get(package, ["fitlab"])) == {"fitlab"}


def test_core_is_built_from_these_sources():
    from sim import _core

    models = {path.stem for path in (ROOT / "sim" / "core" / "devices").glob("*.h")}
    assert set(_core.devices()) == models


@pytest.mark.parametrize("name", [name for package in PACKAGES for name in modules(package)])
def test_module_imports_and_says_what_it_is(name):
    assert importlib.import_module(name).__doc__, f"{name} has no docstring"


def test_versions_agree():
    with (ROOT / "pyproject.toml").open("rb") as file:
        stated = tomllib.load(file)["project"]["version"]
    assert importlib.metadata.version("fitlab") == stated
    newest = re.search(r"^## ([0-9][^ ]*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == stated


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_is_light(package):
    assert heavy_after(f"import {package}") == set()


def test_importing_the_command_line_is_light():
    # `fitlab --help` has to answer at once.
    assert heavy_after("import fitlab.cli") == set()
    assert heavy_after("import fitlab.cli, studies.cli") == set()


def test_help_is_light_and_names_the_commands():
    code = """from fitlab.cli import main
sys.argv = ["fitlab", "--help"]
try:
    main()
except SystemExit as end:
    print(end.code)
"""
    assert heavy_after(code) == set()
    shown = fresh("import sys\n" + code)
    for command in ("fit", "show", "study", "doctor"):
        assert re.search(rf"\b{command}\b", shown), f"{command} is not in the help"


def test_configurations_are_light():
    assert heavy_after("import sim.configs") == set()


def test_every_dependency_is_pinned():
    """Every dependency has a pin, and the pin meets the stated lower bound."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[canonicalize_name(name)] = version
    with (ROOT / "pyproject.toml").open("rb") as file:
        document = tomllib.load(file)
    extras = document["project"]["optional-dependencies"]
    stated = [*document["build-system"]["requires"], *document["project"]["dependencies"], *extras["test"], *extras["dev"]]
    for text in stated:
        need = Requirement(text)
        assert need.specifier.contains(pins[canonicalize_name(need.name)]), text


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_readme_examples_run(monkeypatch):
    monkeypatch.chdir(ROOT)
    names: dict[str, object] = {}
    for example in readme_blocks("python"):  # a later one goes on from the one before
        exec(compile(example, "README.md", "exec"), names)
    assert names["scores"].isfinite().all()  # type: ignore[attr-defined]
    # What the example says that it prints.
    assert 0.5 < names["accuracy"] <= 1.0  # type: ignore[operator]


def test_readme_names_files_that_exist():
    text = (ROOT / "README.md").read_text()
    linked = re.findall(r"\]\(([^)#:]+)\)", text)
    assert linked
    for target in linked:
        assert (ROOT / target).exists(), f"README.md links to {target}, which is not there"


def test_readme_names_the_make_targets():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
