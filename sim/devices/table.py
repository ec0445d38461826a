"""A device made of measured steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from sim.devices.base import WriteNoiseDevice
from sim.devices.table_data import REACH, distribution_table
from sim.errors import ConfigError
from sim.settings import NonNegative, Range, Structural, config

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["TableDevice"]

Rows = Annotated[int, Range(low=2), Structural()]


@config
class TableDevice(WriteNoiseDevice):
    r"""The change of a pulse is drawn from a measured distribution that depends on the state.

    .. math:: w \leftarrow \mathrm{clip}(w + s_\uparrow T_\uparrow(q, \xi)), \quad
        w \leftarrow \mathrm{clip}(w - s_\downarrow T_\downarrow(q, \xi)), \quad q = (w - b_{min}) / (b_{max} - b_{min})

    s : step of the crosspoint, hidden ``dwmin_up``, ``dwmin_down`` [weight]; b : its bounds, hidden ``max_bound``,
    ``min_bound`` [weight]; T(q, z) : quantile of the change at probability :math:`\Phi(z)`, in units of the step [1].
    ``rows`` states are evenly spread over the range of the crosspoint; the columns of a row are evenly spread over
    z = -4 ... 4, and beyond that the last one holds. In between, T is bilinear. A table of one column has no noise.
    ``dw_min_std`` scales the deviation from the mean step: 1 draws as measured, 0 takes the mean.

    :meth:`from_data` makes it of measured pairs (state, change). Left out: correlations between pulses; read noise, which
    enters twice (it blurs the states and adds 2 kappa^2 to the variance of the changes), is not taken away.

    Source: T. P. Xiao et al., CrossSim (2022), for the look-up table of measured updates.
    """

    kernel: ClassVar[str] = "table"
    kernel_scalars: ClassVar[tuple[str, ...]] = ("dw_min_std",)

    dw_min_std: Annotated[NonNegative, "noise of one pulse: 1 as measured, 0 none"] = 1.0
    rows: Annotated[Rows, "states of the table, evenly spread from the lower to the upper bound"] = 2
    up: Annotated[Sequence[float], "quantiles of an up step row by row, in units of dw_min"] = (1.0, 1.0)
    down: Annotated[Sequence[float], "quantiles of a down step row by row, positive downwards, in units of dw_min"] = (1.0, 1.0)

    def rules(self) -> None:
        """Both tables have the given rows and the same columns, and no quantile falls along a row."""
        for name in ("up", "down"):
            values = getattr(self, name)
            if not values or len(values) % self.rows:
                raise ConfigError(
                    f"{name} has {len(values)} numbers, which {self.rows} rows do not divide: give the same number for each row",
                    field=name,
                    value=len(values),
                    allowed=f"a multiple of {self.rows}",
                )
            columns = len(values) // self.rows
            for k in range(1, len(values)):
                if k % columns and values[k] < values[k - 1]:
                    raise ConfigError(
                        f"{name}.{k} = {values[k]:g} is below {values[k - 1]:g}, the quantile before it in its row: give "
                        "quantiles that do not fall",
                        field=f"{name}.{k}",
                        value=values[k],
                        allowed=f"at least {values[k - 1]:g}",
                    )
        if len(self.up) != len(self.down):
            raise ConfigError(
                f"down has {len(self.down)} numbers and up {len(self.up)}: give as many quantiles for both",
                field="down",
                value=len(self.down),
                allowed=f"{len(self.up)} numbers",
            )

    def granularity(self) -> float:
        """Average of the mean steps up and down in the middle of the range; ``dw_min`` where that is not positive."""
        both = [sum(_moments(self._table(name))[0][[(self.rows - 1) // 2, self.rows // 2]]) / 2 for name in ("up", "down")]
        size = float(sum(both)) / 2
        return self.dw_min * (size if size > 0 else 1.0)

    def shared(self) -> list[float]:
        """Rows, columns, reach of the columns; then means, standard deviations and scaled quantiles, each up and down."""
        tables = [self._table(name) for name in ("up", "down")]
        moments = [_moments(table) for table in tables]
        scaled = [
            mean[:, None] + self.dw_min_std * (table - mean[:, None]) for table, (mean, _) in zip(tables, moments, strict=True)
        ]
        out = [float(self.rows), float(tables[0].shape[1]), REACH]
        for part in (*(m for m, _ in moments), *(s for _, s in moments), *scaled):
            out += part.ravel().tolist()
        return out

    def _table(self, name: str) -> Any:
        """(rows, columns), at least two columns."""
        import numpy as np

        table = np.reshape(getattr(self, name), (self.rows, -1))
        return np.repeat(table, 2, axis=1) if table.shape[1] == 1 else table

    @classmethod
    def from_data(
        cls,
        g: ArrayLike,
        dg: ArrayLike,
        direction: ArrayLike,
        rows: int = 51,
        columns: int = 33,
        noise: bool = True,
        **fields: Any,
    ) -> Self:
        """A device of measured changes.

        Parameters
        ----------
        g : array (n,)
            State before each pulse, in any unit (for example siemens).
        dg : array (n,)
            Change by that pulse, in the same unit.
        direction : array (n,)
            Above 0 for an up pulse, below 0 for a down pulse.
        rows, columns : int
            States and quantiles of the table.
        noise : bool
            False takes the mean change of each state only.
        **fields
            Further fields; ``w_min`` and ``w_max`` (-1 and 1 if not given) are the weights of the ends of the range, which
            is where both directions have data. Spreads between devices are 0 unless given.

        Raises
        ------
        ConfigError
            If the data are of different lengths, not finite, too few, or without a common range.
        """
        tables = distribution_table(g, dg, direction, rows, columns if noise else 1)
        given: dict[str, Any] = dict.fromkeys(("dw_min_dtod", "up_down_dtod", "w_max_dtod", "w_min_dtod"), 0.0)
        given |= {"w_min": -1.0, "w_max": 1.0, "rows": rows} | fields
        scale = (given["w_max"] - given["w_min"]) / (tables.high - tables.low)
        unit = float(abs(tables.up.mean()) + abs(tables.down.mean())) / 2
        if unit == 0:
            raise ConfigError(
                "dg is 0 on average: give the changes of pulses that move the device", field="dg", allowed="changes"
            )
        given.setdefault("dw_min", unit * scale)
        factor = scale / given["dw_min"]
        return cls(up=(tables.up * factor).ravel().tolist(), down=(tables.down * factor).ravel().tolist(), **given)


def _moments(table: Any) -> tuple[Any, Any]:
    """Mean and standard deviation of each row when its column coordinate is a standard normal."""
    import numpy as np

    z = np.linspace(-6.5, 6.5, 2601)
    density = np.exp(-0.5 * z * z)
    density /= density.sum()
    at = np.linspace(-REACH, REACH, table.shape[1])
    values = np.array([np.interp(z, at, row) for row in table])  # (rows, 2601)
    mean = values @ density
    return mean, np.sqrt(np.maximum((values - mean[:, None]) ** 2 @ density, 0.0))
