"""The response overview against the device equations once more in NumPy, for any model and for what can go wrong."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import sim.devices
import sim.presets
from fitlab import plot
from fitlab.errors import FitError
from fitlab.overview.figure import figure_of_overview, figure_of_several
from fitlab.overview.named import device_named, settings_of
from fitlab.overview.simulate import COPIES, MOST, overview
from fitlab.overview.text import lines
from fitlab.overview.variants import without_noise, without_spread
from sim.devices import ConstantStepDevice, ExpressionDevice, LinearStepDevice, SoftBoundsDevice, SoftBoundsReferenceDevice
from tests.fitlab.simulate import steps

EXAMPLE = Path(__file__).parents[2] / "data" / "reram_8cells.csv"
FOUR = {
    "dw_min": 0.02, "up_down": -0.25, "dw_min_std": 0.4, "w_max": 1.0, "w_min": -0.8, "dw_min_dtod": 0.2,
}  # fmt: skip
TRUTH = {"step_up": 0.015, "step_down": 0.02, "w_max": 1.0, "w_min": -0.8, "gamma_up": 0.5, "gamma_down": 0.3}
CASES = {
    "ConstantStep": ConstantStepDevice(**FOUR),
    "LinearStep": LinearStepDevice(**FOUR, gamma_up=0.5, gamma_down=0.3, mult_noise=False),
    "SoftBounds": SoftBoundsDevice(**FOUR),
    "SoftBoundsReference": SoftBoundsReferenceDevice(**FOUR, mult_noise=False),
}


@pytest.mark.parametrize("name", CASES)
def test_steps_and_their_noise_are_those_of_the_equations(name):
    o = overview(CASES[name])
    inside = slice(10, -10)  # nearer to the bounds pulses are cut
    up, down = steps(name, TRUTH, o.steps.weight)
    assert np.allclose(o.steps.up[inside], up[inside], atol=1e-6)
    assert np.allclose(o.steps.down[inside], down[inside], atol=1e-6)
    additive = name in ("LinearStep", "SoftBoundsReference")
    for found, mean, zero in ((o.steps.up_noise, up, 0.015), (o.steps.down_noise, down, 0.02)):
        expected = 0.4 * (np.full_like(mean, zero) if additive else mean)
        # a standard deviation of 256 values is known to 4.4 %; of 81 such, 4.5 errors are not passed
        assert np.all(np.abs(found[inside] / expected[inside] - 1) < 4.5 * 0.0443)
        assert np.mean(found[inside] / expected[inside]) == pytest.approx(1, abs=4 * 0.0443 / 9)


def test_ramps_follow_the_closed_form_of_soft_bounds():
    o = overview(CASES["SoftBounds"])
    n = o.ramps.pulse[o.ramps.pulse <= o.turn]
    assert o.turn in n
    exact = 1.0 + (-0.8 - 1.0) * (1 - 0.015 / 1.0) ** n  # w -> w + s (1 - w): the mean is linear in w
    error = np.maximum(o.ramps.deviation[: len(n)] / np.sqrt(COPIES), 1e-6)
    assert np.all(np.abs(o.ramps.mean[: len(n)] - exact) < 5 * error)
    # the up ramp comes within 2 % of the range of the bound
    assert exact[-1] > 1 - 0.03 * 1.8
    assert o.complete
    m = o.ramps.pulse[-1] - o.turn
    back = -0.8 + (exact[-1] + 0.8) * (1 - 0.02 / 0.8) ** m
    assert o.ramps.mean[-1] == pytest.approx(back, abs=5 * o.ramps.deviation[-1] / np.sqrt(COPIES))


def test_the_noise_band_is_the_spread_of_the_nominal_device():
    """Constant steps far from the bounds: a random walk of n pulses with 40 % of 0.015 each."""
    o = overview(CASES["ConstantStep"])
    k = np.searchsorted(o.ramps.pulse, 60)
    n = o.ramps.pulse[k]
    assert o.ramps.deviation[k] == pytest.approx(0.4 * 0.015 * np.sqrt(n), rel=4 * 0.0443)
    # drawn devices differ by 20 % in their steps on top of that
    grown = np.std(o.ramps.drawn[k] - o.ramps.drawn[0])
    assert grown == pytest.approx(np.hypot(0.2 * 0.02 * n, 0.4 * 0.015 * np.sqrt(n)), rel=5 * 0.0443)


@pytest.mark.parametrize(
    ("name", "expected"),
    # (s_up - s_down) / (s_up / w_max - s_down / w_min); gammas: (s_up - s_down) / (g_up s_up / w_max - g_down s_down / w_min)
    [("SoftBounds", -0.005 / (0.015 + 0.025)), ("LinearStep", -0.005 / (0.5 * 0.015 + 0.3 * 0.02 / 0.8))],
)
def test_the_symmetry_point_is_where_the_steps_cross_and_alternating_pulses_end_there(name, expected):
    device = dataclasses.replace(CASES[name], dw_min_std=0.0)
    o = overview(device)
    assert o.symmetry == pytest.approx(expected, abs=1e-4)
    # a pair ends below the point, by no more than a step
    assert abs(o.alternating.mean[-1] - expected) < 0.02 + 0.05 * abs(o.alternating.mean[0] - expected)


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (ConstantStepDevice(), "up and down steps are equal everywhere"),
        (ConstantStepDevice(up_down=0.2), "up and down steps are nowhere equal"),
        (ExpressionDevice(up="dw_min*(1+w)", down="dw_min*(1-w)"), "no weight is stable"),
    ],
)
def test_a_missing_symmetry_point_has_a_reason(device, reason):
    o = overview(device)
    assert o.symmetry is None
    assert o.symmetry_reason == reason
    assert ("symmetry point", reason) in lines(o)


@pytest.mark.parametrize("name", sim.devices.models())
def test_every_model_is_shown(name):
    kind = sim.devices.models()[name]
    device = kind() if "dw_min" in kind.derived else kind(dw_min=0.02)
    o = overview(device, name)
    assert o.high > o.low
    assert np.isfinite(o.ramps.mean).all()
    assert np.isfinite(o.alternating.drawn).all()
    # up pulses raise, down pulses lower, by a good part of the range
    assert o.ramps.mean[np.searchsorted(o.ramps.pulse, o.turn)] - o.ramps.mean[0] > 0.5 * (o.high - o.low)
    assert o.ramps.mean[np.searchsorted(o.ramps.pulse, o.turn)] - o.ramps.mean[-1] > 0.5 * (o.high - o.low)
    with plot.style("paper"):
        figure = figure_of_overview(o, name)
    assert len(figure.axes) == 4


def test_the_nominal_device_has_no_spread_and_the_exact_one_no_noise():
    device = ExpressionDevice(
        up="dw_min*(1-a*w)", down="dw_min*(1+a*w)", parameters={"a": 0.5}, dtod={"a": 0.3}, dw_min=0.02, corrupt_devices_prob=0.2
    )
    o = overview(dataclasses.replace(device, dw_min_std=0.0, **dict.fromkeys(("w_max_dtod", "w_min_dtod"), 0.0)))
    assert np.all(o.ramps.deviation == 0)
    assert np.std(o.population.up) > 0.1 * 0.02
    assert np.mean(o.population.up == 0) == pytest.approx(0.2, abs=4 * np.sqrt(0.16 / COPIES))
    nominal = without_spread(device)
    assert not nominal.dtod
    assert nominal.dw_min_dtod == nominal.w_max_dtod == nominal.corrupt_devices_prob == 0
    assert (without_noise(device).dw_min_std, device.dw_min_std) == (0.0, 0.3)


def test_unbounded_and_slow_devices_say_so():
    far = overview(ConstantStepDevice(w_max=1e5, w_min=-1e5, dw_min=0.01))
    assert (far.unbounded, far.low, far.high) == (True, -1.0, 1.0)
    assert any("not bounded" in value for _, value in lines(far))
    slow = overview(ConstantStepDevice(dw_min=1e-5))
    assert (slow.turn, slow.complete) == (MOST, False)
    assert "the ends are not reached" in lines(slow)[-1][1]


@pytest.mark.parametrize(
    ("device", "message"),
    [
        (ConstantStepDevice(w_max=0.0, w_min=0.0), "its weights have no range"),
        (ConstantStepDevice(dw_min=1e-12), "one pulse does not change its weight"),
    ],
)
def test_devices_without_a_response_are_refused(device, message):
    with pytest.raises(FitError, match=message):
        overview(device, "cell")


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_the_same_device_gives_the_same_bytes(tmp_path, ending):
    device = sim.presets.get("ReRamArrayOMPresetDevice")()
    for name in ("a", "b"):
        with plot.style("paper"):
            plot.save(figure_of_overview(overview(device), "x"), tmp_path / f"{name}.{ending}")
    first, second = ((tmp_path / f"{n}.{ending}").read_bytes() for n in ("a", "b"))
    assert first == second
    assert len(first) > 2000


def test_several_devices_share_a_figure():
    names = ["PCMPresetDevice", "ReRamArrayOMPresetDevice", "ReRamArrayHfO2PresetDevice"]
    with plot.style("paper"):
        figure = figure_of_several([(n, overview(sim.presets.get(n)())) for n in names])
    assert [ax.get_title() for ax in figure.axes if ax.get_title() in names] == names


def test_a_parameter_set_is_drawn_in_measured_units_too(tmp_path):
    from fitlab.fit import fit, parameter_set
    from fitlab.io import read

    document = parameter_set(fit(read(EXAMPLE).isel(device=slice(1)), "SoftBoundsReference"))
    document.save(tmp_path / "cell.toml")
    named = device_named(str(tmp_path / "cell.toml"), {"w_max_dtod": 0.1})
    assert named.device.w_max_dtod == 0.1
    assert named.device.w_max == document.device.fields["w_max"]
    with plot.style("paper"):
        figure = figure_of_overview(overview(named.device), named.name, named.document)
        plot.save(figure, tmp_path / "a.svg")
    assert f"measured ({document.weight.unit})" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_settings_are_toml_values_or_text():
    assert settings_of(["dw_min=0.1", "mult_noise=true", "up=dw_min*(1-w)", "parameters={a=1}", "piecewise_up=[1, 2]"]) == {
        "dw_min": 0.1, "mult_noise": True, "up": "dw_min*(1-w)", "parameters": {"a": 1}, "piecewise_up": [1, 2],
    }  # fmt: skip


def test_configurations_name_their_device():
    assert device_named("ReRamSBPreset").device == device_named("ReRamSBPresetDevice").device
    assert "Gong" in str(device_named("ReRamSBPresetDevice").citation)
