"""Figures: what is drawn is the data and the fit, with units; the same figure gives the same bytes."""

from pathlib import Path

import numpy as np
import pytest

from fitlab import plot
from fitlab.errors import FitError
from fitlab.fit import fit
from fitlab.io import read

EXAMPLE = Path(__file__).parents[2] / "data" / "reram_8cells.csv"


@pytest.fixture(scope="module")
def response():
    return read(EXAMPLE).isel(device=slice(2))


@pytest.fixture(scope="module")
def result(response):
    return fit(response, "SoftBoundsReference")


def test_the_figure_shows_data_fit_and_residuals_with_units(result):
    with plot.style("paper"):
        figure = plot.figure_of_fit(result)
    trace, steps, residuals, variogram = figure.axes
    assert trace.get_ylabel() == "conductance (µS)"
    assert steps.get_xlabel() == "conductance (µS)"
    assert "(µS)" in steps.get_ylabel()
    assert "(µS)" in residuals.get_ylabel()
    assert "lag" in variogram.get_xlabel()
    device, chosen = result.devices[0], result.chosen[0]
    drawn = [line.get_ydata() for line in trace.lines]
    expected = result.window.to_value(device.trace.reads) * 1e6
    assert any(len(y) == len(expected) and np.allclose(y, expected, equal_nan=True) for y in drawn)
    mean = result.window.to_value(chosen.mean) * 1e6
    assert any(len(y) == len(mean) and np.allclose(y, mean) for y in drawn)
    shown = residuals.lines[0].get_ydata()
    assert np.allclose(shown, (device.trace.reads - chosen.mean) * result.window.per_w * 1e6, equal_nan=True)


def test_measured_steps_lie_around_the_model(result):
    for sign, index in ((1, 0), (-1, 1)):
        state, step, error = plot.binned_steps(result.devices[0], sign)
        model = result.chosen[0].model.mean_steps(result.chosen[0].stored, state)[index]
        # 14 bins, overlapping means of the reads around: pulls of order one
        assert np.sqrt(np.mean(((step - model) / error) ** 2)) < 2


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_the_same_figure_gives_the_same_bytes(result, tmp_path, ending):
    for name in ("a", "b"):
        with plot.style("screen"):
            plot.save(plot.figure_of_fit(result), tmp_path / f"{name}.{ending}")
    first, second = ((tmp_path / f"{n}.{ending}").read_bytes() for n in ("a", "b"))
    assert first == second
    assert len(first) > 2000


def test_text_stays_text(result, response, tmp_path):
    with plot.style("paper"):
        plot.save(plot.figure_of_response(response), tmp_path / "data.svg")
    assert "conductance (µS)" in (tmp_path / "data.svg").read_text(encoding="utf-8")


def test_style_is_left_behind():
    import matplotlib as mpl

    before = mpl.rcParams["font.size"]
    with plot.style("screen"):
        assert mpl.rcParams["font.size"] == 11
    assert mpl.rcParams["font.size"] == before
    with pytest.raises(FitError, match="no figure style 'poster'; choose from paper, screen"), plot.style("poster"):
        pass


def test_other_endings_are_refused(result, tmp_path):
    with plot.style("paper"), pytest.raises(FitError, match=r"\.svg, \.png or \.pdf"):
        plot.save(plot.figure_of_fit(result), tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []
