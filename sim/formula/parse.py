"""Text to tree: numbers, names, ``+ - * / **``, parentheses, and the functions of :data:`FUNCTIONS`."""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Collection
from dataclasses import dataclass

from sim.errors import FitlabError
from sim.settings.fields import FLOAT32_MAX, close

__all__ = ["FUNCTIONS", "FormulaError", "Node", "parse", "variables"]

FUNCTIONS = {"exp": 1, "log": 1, "sqrt": 1, "abs": 1, "min": 2, "max": 2}
"""Names of the functions and how many arguments they take."""
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide", ast.Pow: "power",
}  # fmt: skip
_LONGEST = 500


class FormulaError(FitlabError):
    """A formula is not of the grammar; ``column`` counts its characters from 1."""

    def __init__(self, text: str, column: int, problem: str, remedy: str) -> None:
        self.column = column
        super().__init__(f"character {column} of {text!r}: {problem}: {remedy}")


@dataclass(frozen=True)
class Node:
    """One operation with its operands; a number or a name has none."""

    kind: str
    operands: tuple[Node, ...] = ()
    value: float = 0.0
    name: str = ""


def parse(text: str, names: Collection[str]) -> Node:
    """The tree of a formula.

    Parameters
    ----------
    text : str
        The formula, at most 500 ASCII characters on one line.
    names : collection of str
        The variables that it may use.

    Raises
    ------
    FormulaError
        For anything else; it names the character, what stands there and what is allowed.
    """
    for at, character in enumerate(text, 1):
        if not " " <= character <= "~":
            raise FormulaError(text, at, f"{character!r} cannot be read", "use letters, digits and + - * / ( ) , only")
    if len(text) > _LONGEST:
        raise FormulaError(text[:20] + "...", _LONGEST + 1, "the formula is too long", f"keep to {_LONGEST} characters")
    indent = len(text) - len(text.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.lstrip(), mode="eval").body
    except SyntaxError as error:
        column = min(error.offset + indent if error.offset else len(text) + 1, len(text) + 1)
        raise FormulaError(text, column, f"{error.msg}", f"write for example {_example(names)!r}") from None
    except (RecursionError, MemoryError):
        raise FormulaError(text, 1, "the formula is nested too deeply", "write it with fewer parentheses") from None
    return _Reader(text, indent, tuple(names)).node(tree)


def _example(names: Collection[str]) -> str:
    listed = list(names)
    return f"{listed[1]}*(1 - {listed[0]})" if len(listed) > 1 else "1"


def variables(text: str, names: Collection[str]) -> set[str]:
    """The variables that a formula has, of those it may use; errors as of :func:`parse`."""
    found: set[str] = set()
    rest = [parse(text, names)]
    while rest:
        node = rest.pop()
        found |= {node.name} if node.name else set()
        rest += node.operands
    return found


@dataclass(frozen=True)
class _Reader:
    text: str
    indent: int
    names: tuple[str, ...]

    def refuse(self, at: ast.AST, problem: str, remedy: str) -> FormulaError:
        return FormulaError(self.text, getattr(at, "col_offset", 0) + self.indent + 1, problem, remedy)

    def node(self, at: ast.expr) -> Node:
        if isinstance(at, ast.Constant):
            return self.number(at)
        if isinstance(at, ast.Name):
            return self.variable(at)
        if isinstance(at, ast.UnaryOp) and isinstance(at.op, ast.USub | ast.UAdd):
            operand = self.node(at.operand)
            return operand if isinstance(at.op, ast.UAdd) else Node("negate", (operand,))
        if isinstance(at, ast.BinOp) and type(at.op) in _OPERATORS:
            return Node(_OPERATORS[type(at.op)], (self.node(at.left), self.node(at.right)))
        if isinstance(at, ast.Call):
            return self.call(at)
        raise self.refuse(at, "this is not arithmetic", "use + - * / **, parentheses and " + ", ".join(FUNCTIONS))

    def number(self, at: ast.Constant) -> Node:
        value = at.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= FLOAT32_MAX or math.isnan(value):
            raise self.refuse(at, f"{value!r} is not a number that fits", "write a real number up to 3.4e38")
        return Node("constant", value=float(value))

    def variable(self, at: ast.Name) -> Node:
        if at.id not in self.names:
            hint = close(at.id, self.names)
            raise self.refuse(at, f"there is no {at.id!r}{hint}", "use " + ", ".join(self.names))
        return Node("variable", name=at.id)

    def call(self, at: ast.Call) -> Node:
        name = at.func.id if isinstance(at.func, ast.Name) else ""
        if name not in FUNCTIONS:
            raise self.refuse(at, f"there is no function {name!r}{close(name, FUNCTIONS)}", "use " + ", ".join(FUNCTIONS))
        wanted = FUNCTIONS[name]
        if len(at.args) != wanted or at.keywords:
            raise self.refuse(at, f"{name} has {len(at.args) + len(at.keywords)} arguments", f"give {wanted}")
        return Node(name, tuple(self.node(argument) for argument in at.args))
