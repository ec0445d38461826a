"""Configurations as TOML and JSON."""

from __future__ import annotations

import json

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.configs import (
    Config,
    FloatingPointRPUConfig,
    IdealDevice,
    IOParameters,
    PulsedDevice,
    SingleRPUConfig,
    SoftBoundsDevice,
    from_json,
    from_toml,
    to_json,
    to_toml,
)
from sim.errors import ConfigError
from sim.settings import NamedNumbers, Range, settings_of
from sim.settings.text import SCHEMA


def values_of(setting):
    """Values that a setting takes."""
    if setting.kind is bool:
        return st.booleans()
    if setting.numeric:
        r: Range = setting.range
        low = r.low if r.low is not None else r.above
        high = r.high if r.high is not None else r.below
        if setting.kind is int:
            return st.integers(None if low is None else int(low), None if high is None else int(high)).filter(
                lambda v: abs(v) < 2**63  # whole numbers of TOML
            )
        numbers = st.floats(
            low, high, exclude_min=r.above is not None, exclude_max=r.below is not None, allow_nan=False, width=32
        )
        return numbers.filter(r.holds)
    if setting.kind is str:
        return st.sampled_from(["dw_min", "dw_min*(1 - w)", "0.5*abs(w)"])
    if setting.kind is tuple:
        return st.lists(st.floats(-2.0, 2.0, width=32), min_size=1, max_size=4)
    if setting.kind is NamedNumbers:
        return st.dictionaries(st.sampled_from(["alpha", "beta", "c_1"]), st.floats(0.0, 2.0, width=32))
    if issubclass(setting.kind, Config):
        kinds = list(setting.kind.kinds().values())
        return st.one_of([configs(kind) for kind in kinds])
    return st.sampled_from(list(setting.kind))


@st.composite
def configs(draw, kind):
    cfg = kind()
    some = draw(st.lists(st.sampled_from(list(settings_of(kind))), max_size=6, unique=True))
    for name in some:
        setattr(cfg, name, draw(values_of(settings_of(kind)[name])))
    try:
        cfg.check()
    except ConfigError:
        return kind()
    return cfg


@settings(max_examples=60, deadline=None)
@given(st.one_of(configs(SingleRPUConfig), configs(FloatingPointRPUConfig), configs(SoftBoundsDevice), configs(IOParameters)))
def test_round_trips(cfg):
    assert from_toml(to_toml(cfg)) == cfg
    assert from_json(to_json(cfg)) == cfg
    assert type(cfg).from_dict(cfg.to_dict()) == cfg


def test_all_fields_are_written():
    document = json.loads(to_json(SingleRPUConfig()))
    assert document["schema"] == SCHEMA
    assert document["class"] == "SingleRPUConfig"
    assert document["device"]["class"] == "ConstantStepDevice"
    assert set(document["forward"]) == set(settings_of(IOParameters))


def test_infinite_bounds_are_standard_json():
    cfg = IOParameters(noise_management="NONE", inp_bound=float("inf"), out_bound=float("-inf"))

    def refuse(text):
        raise AssertionError(f"{text} is no JSON")

    assert json.loads(to_json(cfg), parse_constant=refuse)["inp_bound"] == "inf"
    assert from_json(to_json(cfg)) == cfg


def test_what_is_missing_keeps_its_default():
    text = f'schema = "{SCHEMA}"\nclass = "SingleRPUConfig"\n[device]\ndw_min = 0.5\n'
    assert from_toml(text).device.dw_min == 0.5
    ideal = f'schema = "{SCHEMA}"\nclass = "SingleRPUConfig"\n[device]\nclass = "IdealDevice"\n'
    assert from_toml(ideal).device == IdealDevice()


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"device": {"dwmin": 1.0}}, "device.dwmin", "dw_min"),
        ({"device": {"dw_min": -1.0}}, "device.dw_min", "above 0"),
        ({"device": {"drift": {"nu": "x"}}}, "device.drift.nu", "a number"),
        ({"device": {"class": "SoftBound"}}, "device.class", "SoftBoundsDevice"),
        ({"device": {"class": ["SoftBoundsDevice"]}}, "device.class", "SoftBoundsDevice"),
        ({"device": {"class": "PulsedDevice"}}, "device.class", "one of"),
        ({"device": 3}, "device", "a table"),
        ({"forward": {"inp_bound": 2.0}}, "forward.inp_bound", "noise_management"),
        ({"forward": {"mv_type": "TWO_PASS"}}, "forward.mv_type", "ONE_PASS"),
        ({"foward": {}}, "foward", "forward"),
        ({"class": "SingleConfig"}, "class", "SingleRPUConfig"),
        ({"schema": "sim.config/0"}, "schema", SCHEMA),
    ],
)
def test_errors_name_the_dotted_path(change, field, words):
    document = {"schema": SCHEMA, "class": "SingleRPUConfig", **change}
    for read, text in ((from_toml, tomli_w.dumps(document)), (from_json, json.dumps(document))):
        with pytest.raises(ConfigError) as caught:
            read(text)
        assert caught.value.field == field
        assert field in str(caught.value)
        assert words in str(caught.value)


def test_broken_text_names_the_place():
    with pytest.raises(ConfigError, match="line 1, column"):
        from_toml("a = = 1")
    with pytest.raises(ConfigError, match="line 1 column"):
        from_json("{")
    with pytest.raises(ConfigError, match="class is missing"):
        from_toml(f'schema = "{SCHEMA}"')
    with pytest.raises(ConfigError, match="schema"):
        from_json("[1]")


def test_the_class_asked_for_is_the_class_read():
    text = to_toml(IOParameters())
    with pytest.raises(ConfigError, match="one of SingleRPUConfig"):
        from_toml(text, SingleRPUConfig)
    assert from_toml(to_toml(SoftBoundsDevice()), PulsedDevice) == SoftBoundsDevice()
