"""Settings that hold several numbers, and fields that follow from others."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from sim.configs import (
    ExpressionDevice,
    PiecewiseStepDevice,
    SingleRPUConfig,
    SoftBoundsPmaxDevice,
    TableDevice,
    get_path,
    numeric_paths,
    set_path,
    setting_at,
    structure,
)
from sim.errors import ConfigError
from sim.settings import NamedNumbers


def device() -> PiecewiseStepDevice:
    return PiecewiseStepDevice(piecewise_up=[1, 0.5, 0.25], piecewise_down=[1, 1, 2])


def expression() -> ExpressionDevice:
    return ExpressionDevice(up="dw_min*(1 - a*w)", parameters={"a": 0.5, "b": 2}, dtod={"a": 0.1})


@pytest.mark.parametrize("given", [[1, 2.5], (1, 2.5), np.array([1, 2.5]), torch.tensor([1, 2.5])])
def test_a_list_of_numbers_is_stored_as_a_tuple(given):
    cfg = device()
    cfg.piecewise_up = given
    assert cfg.piecewise_up == (1.0, 2.5)
    assert all(type(x) is float for x in cfg.piecewise_up)


@pytest.mark.parametrize("given", ["1, 2", 1.0, [1, "x"], [1, None], [1, float("nan")], [True], [[1.0]], {"a": 1}, [1e39]])
def test_what_is_no_list_of_numbers_is_refused(given):
    with pytest.raises(ConfigError, match=r"piecewise_up = .* give a list of numbers"):
        PiecewiseStepDevice(piecewise_up=given)


@pytest.mark.parametrize("given", [1.0, [1.0], {"a": "x"}, {1: 1.0}, "a", {"a": float("inf")}])
def test_what_is_no_table_of_numbers_is_refused(given):
    with pytest.raises(ConfigError, match=r"parameters = .* give numbers by name"):
        ExpressionDevice(parameters=given)


def test_the_interval_holds_for_each_number():
    with pytest.raises(ConfigError, match=r"dtod = .* numbers by name, each of at least 0"):
        ExpressionDevice(parameters={"a": 1.0}, dtod={"a": -0.1})


def test_named_numbers_cannot_change_unchecked():
    cfg = expression()
    for change in (
        lambda p: p.__setitem__("a", "x"),
        lambda p: p.update(a=1),
        lambda p: p.pop("a"),
        lambda p: p.clear(),
        lambda p: p.setdefault("z", 1),
        lambda p: p.popitem(),
    ):
        with pytest.raises(TypeError, match="set_path"):
            change(cfg.parameters)
    assert cfg.parameters == {"a": 0.5, "b": 2.0}
    assert copy.deepcopy(cfg) == cfg
    assert pickle.loads(pickle.dumps(cfg)) == cfg
    assert hash(cfg.parameters) == hash(NamedNumbers({"b": 2.0, "a": 0.5}))


def test_each_number_has_a_path():
    cfg = SingleRPUConfig(device=expression())
    assert get_path(cfg, "device.parameters.b") == 2.0
    set_path(cfg, "device.parameters.b", 3)
    assert cfg.device.parameters == {"a": 0.5, "b": 3.0}
    set_path(cfg, "device", device())
    set_path(cfg, "device.piecewise_down.2", 0.125)
    assert cfg.device.piecewise_down == (1.0, 1.0, 0.125)
    numbers = numeric_paths(cfg)
    assert [numbers[f"device.piecewise_up.{k}"] for k in range(3)] == [1.0, 0.5, 0.25]
    assert setting_at(cfg, "device.piecewise_up.1").kind is float
    for path in ("device.piecewise_up.3", "device.piecewise_up.x", "device.dw_min.0", "device.parameters.a"):
        with pytest.raises(ConfigError, match="no such setting"):
            get_path(cfg, path)
    with pytest.raises(ConfigError, match="give a list of numbers"):
        set_path(cfg, "device.piecewise_up.1", "x")


def test_only_the_length_and_the_names_are_structure():
    a, b = device(), device()
    b.piecewise_up = [3, 3, 3]
    assert structure(a) == structure(b)
    b.piecewise_up = [3, 3]
    assert structure(a) != structure(b)
    c, d = expression(), expression()
    set_path(d, "parameters.a", 0.7)
    assert structure(c) == structure(d)
    d.parameters = {"a": 0.5, "c": 2.0}
    assert structure(c) != structure(d)
    d = expression()
    d.up = "dw_min"
    assert structure(c) != structure(d)


def test_printing_shortens_long_lists():
    cfg = TableDevice(rows=10, up=[1.0] * 10, down=[1.0] * 10)
    assert "up=(1.0, 1.0, 1.0, 1.0, ... 10 numbers)" in str(cfg)
    assert eval(repr(cfg), {"TableDevice": TableDevice}) == cfg


def test_a_derived_field_can_be_read_but_not_given():
    cfg = SoftBoundsPmaxDevice()
    assert cfg.w_max > 1
    with pytest.raises(ConfigError, match="w_max cannot be given: it follows from p_max, alpha, range_min and range_max"):
        SoftBoundsPmaxDevice(w_max=0.5)
    with pytest.raises(ConfigError, match="dw_min cannot be given"):
        cfg.dw_min = 0.1
    with pytest.raises(ConfigError, match=r"device.up_down"):
        set_path(SingleRPUConfig(device=cfg), "device.up_down", 0.1)
