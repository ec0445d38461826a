"""The response overview in words and numbers."""

from __future__ import annotations

import numpy as np

from .simulate import COPIES, Overview


def lines(o: Overview) -> list[tuple[str, str]]:
    """What each number is, and the number as text; spreads are standard deviations over the drawn devices."""
    device, p, s = o.device, o.population, o.steps
    up, down = o.at(o.middle)
    at = f"at w = {o.middle:.3g}"
    out = [
        ("states", f"{device.num_states():.4g} (range over the step that updates assume, {device.granularity():.4g})"),
        ("weights", "not bounded; shown from -1 to 1" if o.unbounded else f"{o.low:.4g} to {o.high:.4g}"),
        (f"step up {at}", _with_spread(up, p.up)),
        (f"step down {at}", _with_spread(down, p.down)),
    ]
    if not o.unbounded:
        out += [("upper bound", _with_spread(o.high, p.high)), ("lower bound", _with_spread(o.low, p.low))]
    for name, mean, noise in (("up", s.up, s.up_noise), ("down", s.down, s.down_noise)):
        size, deviation = (float(np.interp(o.middle, s.weight, v)) for v in (mean, noise))
        ratio = f" ({deviation / size:.2g} of the step)" if size > 0 else ""
        out.append((f"cycle-to-cycle noise, {name}", f"{deviation:.2g} {at}{ratio}" if deviation else "none"))
    out.append(("write noise", f"{device.write_noise:.3g}" if device.write_noise else "none"))
    out.append(("symmetry point", o.symmetry_reason if o.symmetry is None else f"{o.symmetry:.4g}"))  # type: ignore[arg-type]
    tail = slice(len(o.alternating.mean) * 4 // 5, None)
    drawn = o.alternating.drawn[tail].mean(axis=0)
    pulses = int(o.alternating.pulse[-1])
    out.append((f"after {pulses} alternating pulses", _with_spread(float(o.alternating.mean[tail].mean()), drawn)))
    cut = "" if o.complete else " (cut: the ends are not reached)"
    out.append(("pulses of the ramps", f"{o.turn} up, {int(o.ramps.pulse[-1]) - o.turn} down{cut}"))
    return out


def _with_spread(nominal: float, values: np.ndarray) -> str:
    spread = float(np.std(values))
    if spread <= 1e-6 * max(abs(nominal), 1e-9):
        return f"{nominal:.4g}, the same on every device"
    return f"{nominal:.4g}; {COPIES} drawn devices {np.mean(values):.4g} +- {spread:.2g}"
