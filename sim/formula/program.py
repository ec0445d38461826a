"""Tree to the program of a stack machine, and what the program computes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from sim.formula.parse import FormulaError, Node, parse

__all__ = ["CODES", "STACK", "Instruction", "compile_formula", "evaluate"]

CODES = (
    "constant", "variable", "add", "subtract", "multiply", "divide", "negate", "power", "whole_power",
    "exp", "log", "sqrt", "abs", "min", "max",
)  # fmt: skip
"""Operations in the order of ``Code`` in ``sim/core/devices/expression.h``."""
STACK = 16
"""Values on the stack at most, as there."""
SMALLEST = 1.17549435e-38
_WHOLE = 64


class Instruction(NamedTuple):
    """One operation; the operand is a constant, the index of a variable, or a whole exponent."""

    code: int
    operand: float = 0.0


def compile_formula(text: str, names: Sequence[str]) -> list[Instruction]:
    """The program of a formula over the given variables, whose indices are their positions ("" is nobody's).

    Raises
    ------
    FormulaError
        If the formula is not of the grammar, or needs more than :data:`STACK` values at once.
    """
    program: list[Instruction] = []
    deepest = _emit(_folded(parse(text, [name for name in names if name])), list(names), program)
    if deepest > STACK:
        raise FormulaError(text, 1, f"the formula needs {deepest} intermediate values", f"rewrite it to need at most {STACK}")
    return program


def _emit(node: Node, names: list[str], program: list[Instruction]) -> int:
    """Append the operations of a tree; the number of values that it needs on the stack."""
    if node.kind == "constant":
        program.append(Instruction(CODES.index("constant"), node.value))
        return 1
    if node.kind == "variable":
        program.append(Instruction(CODES.index("variable"), float(names.index(node.name))))
        return 1
    if node.kind == "power" and (whole := _whole(node.operands[1])):
        depth = _emit(node.operands[0], names, program)
        program.append(Instruction(CODES.index("whole_power"), float(whole)))
        return depth
    depths = [_emit(operand, names, program) for operand in node.operands]
    program.append(Instruction(CODES.index(node.kind)))
    return max(depth + k for k, depth in enumerate(depths))


def _folded(node: Node) -> Node:
    """The tree with what has no variables computed, so that 2**3 is a whole exponent too."""
    operands = tuple(map(_folded, node.operands))
    node = replace(node, operands=operands)
    if not operands or any(operand.kind != "constant" for operand in operands):
        return node
    program: list[Instruction] = []
    _emit(node, [], program)
    value = evaluate(program, [])
    return node if math.isnan(value) else Node("constant", value=value)


def _whole(exponent: Node) -> int:
    """A whole exponent that multiplies out, from 1 to 64, or 0."""
    value = exponent.value if exponent.kind == "constant" else 0.0
    return int(value) if value in range(1, _WHOLE + 1) else 0


def evaluate(program: Sequence[Instruction], values: Sequence[float]) -> float:
    """What the compiled kernel computes, in double precision (not a number where the kernel takes 0)."""
    stack: list[float] = []
    for code, operand in program:
        name = CODES[code]
        if name == "constant":
            stack.append(operand)
        elif name == "variable":
            stack.append(values[int(operand)])
        elif name in _UNARY or name == "whole_power":
            y = stack.pop()
            stack.append(math.prod([y] * int(operand)) if name == "whole_power" else _UNARY[name](y))
        else:
            y, x = stack.pop(), stack.pop()
            stack.append(_BINARY[name](x, y))
    return stack[0] if abs(stack[0]) < 1e30 else math.nan


def _divide(x: float, y: float) -> float:
    return x / y if y else math.nan


def _power(x: float, y: float) -> float:
    if x < SMALLEST:
        return 1.0 if y == 0 else 0.0
    return math.exp(min(max(y * math.log(x), -87.0), 87.0))


_UNARY: dict[str, Callable[[float], float]] = {
    "negate": lambda y: -y,
    "exp": lambda y: math.exp(min(max(y, -87.0), 87.0)),
    "log": lambda y: math.log(max(y, SMALLEST)),
    "sqrt": lambda y: math.sqrt(max(y, 0.0)),
    "abs": abs,
}
_BINARY: dict[str, Callable[[float, float], float]] = {
    "add": lambda x, y: x + y,
    "subtract": lambda x, y: x - y,
    "multiply": lambda x, y: x * y,
    "divide": _divide,
    "power": _power,
    "min": min,
    "max": max,
}
