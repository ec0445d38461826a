"""Formulas of the user: grammar, errors that point at the character, and what a program computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.devices import ExpressionDevice
from sim.errors import ConfigError
from sim.formula import STACK, FormulaError, compile_formula, evaluate

NAMES = ("w", "dw_min", "gamma")


def value(text: str, *values: float) -> float:
    return evaluate(compile_formula(text, NAMES), values)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dw_min*(1 - gamma*w)", 0.02 * (1 - 0.5 * 0.3)),
        ("-w**2", -(0.3**2)),
        ("2 - 3 - 4", -5.0),
        ("2 / 4 / 2", 0.25),
        ("2**3**2", 512.0),
        ("w**0.5", math.sqrt(0.3)),
        ("(0 - w)**3", -(0.3**3)),
        ("(0 - w)**0.5", 0.0),
        ("w**0", 1.0),
        ("0**0.5", 0.0),
        ("+w - -w", 0.6),
        ("exp(-w) + log(w) + sqrt(w) + abs(0 - w)", math.exp(-0.3) + math.log(0.3) + math.sqrt(0.3) + 0.3),
        ("min(w, gamma) - max(w, gamma)", 0.3 - 0.5),
        ("exp(1000)*1e-20", math.exp(87) * 1e-20),
        ("sqrt(0 - 1)", 0.0),
        ("  1e-3 * w", 3e-4),
    ],
)
def test_value(text: str, expected: float) -> None:
    assert value(text, 0.3, 0.02, 0.5) == pytest.approx(expected, rel=1e-12)


def test_what_is_not_finite_is_not_a_number() -> None:
    assert math.isnan(value("1/(w - w)", 0.3, 0.02, 0.5))
    assert math.isnan(value("1e30*1e30", 0.3, 0.02, 0.5))


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("dw_min*(1 - gama*w)", 13, "there is no 'gama' (did you mean 'gamma'?)"),
        ("  w + x", 7, "there is no 'x'"),
        ("dw_min*(1 - w", 8, "never closed"),
        ("w +", 4, "invalid syntax"),
        ("", 1, "invalid syntax"),
        ("w + log(w, 2)", 5, "log has 2 arguments: give 1"),
        ("min(w)", 1, "min has 1 arguments: give 2"),
        ("exp(x=1)", 1, "exp has 1 arguments"),
        ("1 + sin(w)", 5, "there is no function 'sin' (did you mean 'min'?)"),
        ("__import__('os').system('x')", 1, "there is no function ''"),
        ("w.real", 1, "not arithmetic"),
        ("w[0]", 1, "not arithmetic"),
        ("1 + (w if w else 2)", 6, "not arithmetic"),
        ("w < 1", 1, "not arithmetic"),
        ("w // 2", 1, "not arithmetic"),
        ("w % 2", 1, "not arithmetic"),
        ("not w", 1, "not arithmetic"),
        ("lambda: 1", 1, "not arithmetic"),
        ("[w for w in w]", 1, "not arithmetic"),
        ("2 + 'a'", 5, "is not a number"),
        ("2*True", 3, "True is not a number"),
        ("1j", 1, "is not a number"),
        ("1e39", 1, "is not a number that fits"),
        ("w + µ", 5, "cannot be read"),
        ("w\n+ 1", 2, "cannot be read"),
        ("w + 1" + " + 1" * 130, 501, "too long"),
    ],
)
def test_errors_point_at_the_character(text: str, column: int, words: str) -> None:
    with pytest.raises(FormulaError) as error:
        compile_formula(text, NAMES)
    assert words in str(error.value)
    assert error.value.column == column


def test_the_stack_is_limited() -> None:
    def nested(depth: int) -> str:
        return "w + (" * (depth - 1) + "w" + ")" * (depth - 1)

    assert value(nested(STACK), 1.0, 0.0, 0.0) == STACK
    with pytest.raises(FormulaError, match=f"needs {STACK + 1} intermediate values: rewrite it to need at most {STACK}"):
        compile_formula(nested(STACK + 1), NAMES)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text(alphabet="w+-*/() .0123456789expminlogabs,_[]{}='\"\\#@:;!~", max_size=40))
def test_any_text_is_a_program_or_a_formula_error(text: str) -> None:
    try:
        program = compile_formula(text, NAMES)
    except FormulaError as error:
        column, program = error.column, None
    if program is None:
        assert 1 <= column <= len(text) + 1
    else:
        assert isinstance(evaluate(program, (0.3, 0.02, 0.5)), float)


leaf = st.sampled_from(["w", "dw_min", "gamma", "1.5", "0.25"])
formulas = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda t: f"(-{t})"),
        inner.map(lambda t: f"({t})**2"),
        st.tuples(inner, inner).map(lambda t: f"max({t[0]}, {t[1]})"),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(formulas, st.floats(0.125, 2.0), st.floats(0.125, 2.0))
def test_programs_compute_what_the_formula_says(text: str, w: float, gamma: float) -> None:
    """Against Python's own arithmetic, which has the same precedences."""
    try:
        expected = eval(text, {"w": w, "dw_min": 0.02, "gamma": gamma, "max": max})
    except (ZeroDivisionError, OverflowError):
        expected = math.nan
    ours = value(text, w, 0.02, gamma)
    if math.isnan(expected) or abs(expected) >= 1e30:
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"up": "dw_min*(1 - gamm*w)", "parameters": {"gamma": 1}}, "up", "character 13 of 'dw_min*(1 - gamm*w)'"),
        ({"down": "1/w"}, "down", "is not finite at w = 0"),
        ({"up": "step"}, "up", "there is no 'step'"),
        ({"noise": "stepp"}, "noise", "did you mean 'step'"),
        ({"parameters": {"w": 1.0}}, "parameters.w", "cannot be the name of a parameter"),
        ({"parameters": {"a b": 1.0}}, "parameters.a b", "cannot be the name"),
        ({"parameters": {f"p{k}": 1.0 for k in range(9)}}, "parameters", "has 9 names: give at most 8"),
        ({"dtod": {"a": 0.1}}, "dtod.a", "there is no parameter 'a'"),
    ],
)
def test_a_device_refuses_a_bad_formula(fields: dict, field: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        ExpressionDevice(**fields)
    assert words in str(error.value)
    assert error.value.field == field


def test_eight_parameters_and_every_operation_in_the_kernel() -> None:
    """The compiled kernel agrees with the evaluation here, for every operation and slot."""
    import torch

    from tests.sim.arrays.pulses import array_of, pulse

    names = [f"p{k}" for k in range(8)]
    text = (
        "p0 + p1*w - p2/(w_max - w_min) + p3**2 - exp(-p4) + log(p5) + sqrt(p6) + abs(-p7) + min(w, p0) - max(p1, w)**p2 + step"
    )
    own = {name: 0.3 + 0.1 * k for k, name in enumerate(names)}
    device = ExpressionDevice(dw_min=0.01, dw_min_std=1.0, up="0", noise=text, parameters=own, w_max=1e3, w_min=-1e3)
    array = array_of(device, 4000)
    array.set(torch.full((1, 1, 4000), 0.25))
    pulse(array, True)
    change = (array.read()[0, 0] - 0.25).double().numpy()
    h = {k: v[0, 0].double().numpy() for k, v in array.hidden().items()}
    variables = ("w", "dw_min", "w_max", "w_min", "step", *names)
    program = compile_formula(text, variables)
    scale = np.array(
        [
            evaluate(program, (0.25, 0.0, hi, lo, 0.0, *device.parameters.values()))
            for hi, lo in zip(h["max_bound"], h["min_bound"], strict=True)
        ]
    )
    z = change / scale
    assert abs(z.mean()) < 4.5 / np.sqrt(4000)
    assert abs(z.std() - 1) < 4.5 / np.sqrt(8000)
