"""A device whose step is a formula of the user."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

from sim.devices.base import WriteNoiseDevice
from sim.devices.spread import Value, normal_spread
from sim.errors import ConfigError
from sim.formula import FormulaError, Instruction, compile_formula, evaluate
from sim.random import Draws
from sim.settings import NamedNumbers, NonNegative, config

__all__ = ["ExpressionDevice"]

SLOTS = 8
BUILT_IN = ("w", "dw_min", "w_max", "w_min", "step")
"""Variables in the order of ``Variable`` in ``sim/core/devices/expression.h``; the own parameters follow."""
_PROBES = 33


@config
class ExpressionDevice(WriteNoiseDevice):
    r"""The change of a pulse is a formula: ``up`` and ``down`` give the mean step, both positive in their direction.

    .. math:: w \leftarrow \mathrm{clip}(w + up(w) + noise \cdot \sigma \xi), \quad
        w \leftarrow \mathrm{clip}(w - down(w) - noise \cdot \sigma \xi)

    A formula has numbers, ``+ - * / **``, parentheses, the functions exp, log, sqrt, abs, min(x, y), max(x, y), and the
    names ``w``, the state [weight]; ``dw_min``, the crosspoint's own step in the direction of the pulse (hidden
    ``dwmin_up`` or ``dwmin_down``) [weight]; ``w_max`` and ``w_min``, its own bounds [weight]; and up to 8 ``parameters``,
    each with a spread in ``dtod``. ``noise`` also knows ``step``, the mean step: ``"step"`` is multiplicative noise,
    ``"dw_min"`` additive noise. Where a formula is not finite, the step is 0. Numbers are float32; log takes at least
    1.2e-38, sqrt and the base of a power at least 0 (whole exponents from 1 to 64 multiply out), exp -87 to 87.

        ExpressionDevice(up="dw_min*(1 - gamma*w)", down="dw_min*(1 + gamma*w)", parameters={"gamma": 0.5}, dtod={"gamma": 0.1})

    Source: the user's own.
    """

    kernel: ClassVar[str] = "expression"

    up: Annotated[str, "mean step of an up pulse, a formula"] = "dw_min"
    down: Annotated[str, "mean step of a down pulse, a formula, positive where it lowers the weight"] = "dw_min"
    noise: Annotated[str, "std of one pulse, a formula; dw_min_std multiplies it"] = "step"
    parameters: Annotated[Mapping[str, float], "means of the own parameters by name"] = NamedNumbers()
    dtod: Annotated[Mapping[str, NonNegative], "device-to-device spread of own parameters, relative"] = NamedNumbers()

    def rules(self) -> None:
        """Names and formulas are valid, and both steps are finite between the mean bounds."""
        self._check_names()
        for field in ("up", "down", "noise"):
            text = getattr(self, field)
            try:
                program = self.program(field)
            except FormulaError as error:
                raise ConfigError(f"{field}: {error}", field=field, value=text, allowed="a formula") from None
            for direction in (0, 1):
                for k in range(_PROBES):
                    w = self.w_min + (self.w_max - self.w_min) * k / (_PROBES - 1)
                    if math.isnan(evaluate(program, self._values(w, direction))):
                        raise ConfigError(
                            f"{field} = {text!r} is not finite at w = {w:g}: write a formula that is, for example by max(...)",
                            field=field,
                            value=text,
                            allowed="finite between the bounds",
                        )

    def _check_names(self) -> None:
        if len(self.parameters) > SLOTS:
            raise ConfigError(
                f"parameters has {len(self.parameters)} names: give at most {SLOTS}",
                field="parameters",
                value=dict(self.parameters),
                allowed=f"at most {SLOTS}",
            )
        for name in self.parameters:
            if not (name.isidentifier() and name.isascii()) or name in BUILT_IN:
                raise ConfigError(
                    f"parameters.{name}: {name!r} cannot be the name of a parameter: give letters, digits and _, and none of "
                    + ", ".join(BUILT_IN),
                    field=f"parameters.{name}",
                    value=name,
                    allowed="a free name",
                )
        for name in self.dtod:
            if name not in self.parameters:
                raise ConfigError(
                    f"dtod.{name}: there is no parameter {name!r}: give its mean in parameters, or leave it out",
                    field=f"dtod.{name}",
                    value=name,
                    allowed=", ".join(self.parameters) or "nothing",
                )

    def program(self, field: str) -> list[Instruction]:
        """Program of a formula: ``up``, ``down`` or ``noise``; its variables are ``BUILT_IN``, then the own parameters."""
        # A step cannot be made of the step: its name is there for the noise only.
        names = tuple("" if field != "noise" and name == "step" else name for name in BUILT_IN)
        return _compiled(getattr(self, field), (*names, *self.parameters))

    def _values(self, w: float, direction: int) -> list[float]:
        """Variables of a device without spread."""
        step = self.mean_steps()[direction]
        return [w, step, self.w_max, self.w_min, step, *self.parameters.values()]

    def granularity(self) -> float:
        """Average size of the mean steps up and down at w = 0; ``dw_min`` where both are 0."""
        sizes = [evaluate(self.program(field), self._values(0.0, k)) for k, field in enumerate(("up", "down"))]
        return 0.5 * (abs(sizes[0]) + abs(sizes[1])) or self.dw_min

    def shared(self) -> list[float]:
        """Lengths of the three programs, then their instructions."""
        programs = [self.program(field) for field in ("up", "down", "noise")]
        return [*map(float, map(len, programs)), *(float(x) for program in programs for i in program for x in i)]

    def draw_model(self, values: dict[str, Value], draws: Draws) -> dict[str, Value]:
        """The own parameters of every crosspoint."""
        slots: dict[str, Value] = {f"p{k}": 0.0 for k in range(SLOTS)}
        for k, (name, mean) in enumerate(self.parameters.items()):
            slots[f"p{k}"] = normal_spread(mean, self.dtod.get(name, 0.0), draws, f"parameter.{name}")
        return slots

    def hidden_model(self, values: dict[str, Value]) -> dict[str, Value]:
        """The own parameters under their names."""
        return {name: values[f"p{k}"] for k, name in enumerate(self.parameters)}


@functools.lru_cache(maxsize=256)
def _compiled(text: str, names: tuple[str, ...]) -> list[Instruction]:
    return compile_formula(text, names)
