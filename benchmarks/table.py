"""Results as tables, on the terminal and as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Table", "verdict"]


@dataclass
class Table:
    """Rows of numbers with what they mean.

    Parameters
    ----------
    title : what was measured, with units
    columns : name of each column
    rows : cells; numbers are shown with three digits
    notes : sentences below the table
    """

    title: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: Any) -> None:
        """Append a row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{self.title}: a row of {len(cells)} cells does not fit {len(self.columns)} columns")
        self.rows.append(list(cells))

    def as_data(self) -> dict[str, Any]:
        """What is written to a results file."""
        return asdict(self)

    def show(self, console: Any) -> None:
        """Print with rich."""
        from rich.markup import escape
        from rich.table import Table as Shown

        shown = Shown(title=escape(self.title), title_justify="left", title_style="bold")
        for k, name in enumerate(self.columns):
            numeric = any(isinstance(row[k], float | int) for row in self.rows)
            shown.add_column(escape(name), justify="right" if numeric else "left", no_wrap=True)
        for row in self.rows:
            shown.add_row(*map(_text, row))
        console.print(shown)
        for note in self.notes:
            console.print(f"  {note}")
        console.print()


def verdict(value: float, bar: float | None) -> str:
    """``met 4.5`` or ``not met 4.5`` for a value that should not be above its bar; a dash without one."""
    if bar is None:
        return "-"
    return f"{'met' if value <= bar else 'not met'} (<= {_text(bar)})"


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:,.0f}"
    return str(cell)


def met(rows: Iterable[list[Any]]) -> tuple[int, int]:
    """Number of bars that are met, and of bars."""
    cells = [str(cell) for row in rows for cell in row if str(cell).startswith(("met (", "not met ("))]
    return sum(cell.startswith("met") for cell in cells), len(cells)
