"""Formulas that a user writes: a small grammar, checked, for a stack machine; nothing is ever evaluated as Python."""

from sim.formula.parse import FormulaError, parse, variables
from sim.formula.program import CODES, STACK, Instruction, compile_formula, evaluate

__all__ = ["CODES", "STACK", "FormulaError", "Instruction", "compile_formula", "evaluate", "parse", "variables"]
