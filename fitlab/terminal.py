"""What the command line prints: tables in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fitlab.io.record import PulseResponse
    from fitlab.overview.named import Named
    from fitlab.overview.simulate import Overview
    from fitlab.parameters import Estimate, ParameterSet
    from sim.presets import Preset


def is_terminal() -> bool:
    """Whether a person watches."""
    return sys.stdout.isatty()


def say(text: str) -> None:
    """One plain line."""
    sys.stdout.write(text + "\n")


def progress_line(done: int, total: int) -> None:
    """How many devices are done: one line that renews itself for a person, every tenth part of the work elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done} of {total} devices" + ("\n" if done == total else ""))
        sys.stderr.flush()
    elif done == total or done * 10 // total > max(done - 16, 0) * 10 // total:
        sys.stderr.write(f"{done} of {total} devices\n")


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if is_terminal():
        from rich.console import Console
        from rich.table import Table

        table = Table(title=title, title_justify="left", header_style="bold")
        for i, name in enumerate(header):
            table.add_column(name, justify="left" if i == 0 or i == len(header) - 1 else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    widths = [max(len(str(r[i])) for r in [header, *rows]) for i in range(len(header))]
    say(title)
    for row in [header, *rows]:
        say("  " + "  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


def _warn(text: str) -> None:
    if is_terminal():
        from rich.console import Console

        Console().print(f"[yellow]warning:[/] {text}", highlight=False)
    else:
        say(f"warning: {text}")


def value_text(estimate: Estimate) -> tuple[str, str, str]:
    """Value, error and remark of an estimate."""
    value = "-" if estimate.value is None else f"{estimate.value:.4g}"
    error = "-" if estimate.error is None else f"{estimate.error:.2g}"
    remark = estimate.reason or ""
    if estimate.high is not None:
        remark = f"{remark} [{estimate.low or 0:.3g}, {estimate.high:.3g}]".strip()
    return value, error, remark


def print_set(document: ParameterSet) -> None:
    """A parameter set: device, values with errors, spreads, noise, comparison, warnings."""
    unit = document.weight.unit
    say(
        f"{document.name}: {document.device.model} from {document.source.files} ({document.protocol.devices} "
        f"device(s), {document.protocol.reads_up} up and {document.protocol.reads_down} down reads)"
    )
    rows = [(name, *value_text(e)) for name, e in document.parameters.items()]
    rows += [(name, *value_text(e)) for name, e in document.dtod.items()]
    rows.append(("symmetry_point", *value_text(document.symmetry_point)))
    _table("parameters (weight units; +- one standard error)", ("name", "value", "+-", "remark"), rows)
    say(
        f"weight -1 is {document.weight.low:.5g} {unit}, weight +1 is {document.weight.high:.5g} "
        f"{unit}; read noise {document.noise.read_noise_value:.3g} {unit}"
    )
    _table(
        "models",
        ("model", "k", "dAICc", "dBIC", "weight", "R2 (least squares)"),
        [
            (m.model, str(m.parameters), f"{m.delta_aicc:.1f}", f"{m.delta_bic:.1f}", f"{m.weight:.3f}", f"{m.r2:.4f}")
            for m in document.comparison
        ],
    )
    say(
        f"mean trajectory: R2 {document.goodness.r2:.4f}, RMSE/range {document.goodness.nrmse:.4f}; "
        f"least squares alone R2 {document.goodness.least_squares_r2:.4f}"
    )
    for warning in document.warnings:
        _warn(warning)


def print_fit(document: ParameterSet) -> None:
    """A fresh parameter set, with what the reader assumed."""
    print_set(document)
    for assumption in document.source.assumptions:
        say(f"assumed: {assumption}")


def print_response(response: PulseResponse) -> None:
    """What was read: counts, range, assumptions, warnings."""
    import numpy as np

    a = response.attrs
    say(
        f"{a['source']}: reader {a['reader']}, {a['devices']} device(s), {a['cycles']} cycle(s), "
        f"{a['reads_up']} reads after up and {a['reads_down']} after down pulses, {a['flagged']} flagged"
    )
    g = response.conductance
    known = np.isfinite(g).any()
    values, unit = (g, "S") if known else (response.value, a["unit"])
    say(f"range {np.nanmin(values):.5g} to {np.nanmax(values):.5g} {unit}")
    for text in a["assumptions"]:
        say(f"assumed: {text}")
    for text in a["warnings"]:
        _warn(text)


def print_overview(name: str, found: Overview, citation: str | None) -> None:
    """A device: its fields that are not the default, and how it answers to pulses."""
    from fitlab.overview.text import lines

    say(str(found.device))
    _table(f"{name}: response to single pulses, simulated (weight units; +- over devices)", ("", "value"), lines(found))
    if citation:
        say(f"source: {citation}")


def print_formats(instruments: Mapping[str, ModuleType], layouts: Mapping[str, ModuleType]) -> None:
    """Instruments and layouts by name, with what they are."""
    for title, modules in (("instruments", instruments), ("layouts of tables", layouts)):
        rows = [(name, (module.__doc__ or "").strip().partition("\n")[0]) for name, module in modules.items()]
        _table(title, ("--format", "what"), rows)


def print_configurations(chosen: Sequence[Preset]) -> None:
    """Presets of unit cells and configurations: class and what they are."""
    rows = [(p.__name__, p.cls.__name__, p.note) for p in chosen]
    _table("presets of unit cells and configurations", ("name", "class", "what"), rows)


def print_presets(chosen: Sequence[Named]) -> None:
    """Device presets: model, step, states, bounds, spreads and source."""
    rows = [
        (
            p.name,
            type(p.device).__name__,
            f"{p.device.dw_min:.4g}",
            f"{p.device.num_states():.4g}",
            f"{p.device.w_min:.4g} to {p.device.w_max:.4g}",
            f"{p.device.dw_min_std:.3g}",
            f"{p.device.dw_min_dtod:.3g}",
            p.citation or "",
        )
        for p in chosen
    ]
    _table(
        "device presets (weight units; noise and spread relative to dw_min)",
        ("name", "model", "dw_min", "states", "bounds", "noise", "spread", "source"),
        rows,
    )
