"""The fitted device, as the training algorithms of the field assume it: its symmetry point is weight 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fitlab.parameters import ParameterSet

__all__ = ["centred", "fitted"]

# The fit gives an upper limit only, since the read noise is slow; this is the value of ReRamSBPresetDevice for the same data.
STEP_NOISE = 3.75


def centred(found: ParameterSet) -> ParameterSet:
    r"""A linear-step device with its symmetry point subtracted, as a reference device beside it does.

    With the steps :math:`a_\uparrow (1 - k_\uparrow w)` and :math:`a_\downarrow (1 - k_\downarrow w)`, k = gamma / bound, and
    w = s + v, where both are equal to a at w = s, the steps in v are :math:`a (1 - k' v)` with :math:`k' = k a_{old} / a`.

    Parameters
    ----------
    found : ParameterSet
        Of a LinearStepDevice with multiplicative noise.

    Returns
    -------
    ParameterSet
        The same device in v, same noise in weight.
    """
    old: dict[str, Any] = dict(found.device.fields)
    up, down = old["dw_min"] * (1 + min(old["up_down"], 0.0)), old["dw_min"] * (1 - max(old["up_down"], 0.0))
    slope_up, slope_down = up * old["gamma_up"] / old["w_max"], down * old["gamma_down"] / old["w_min"]
    s = (up - down) / (slope_up - slope_down)
    step = up - slope_up * s
    high, low = old["w_max"] - s, old["w_min"] - s
    new = {
        **old, "dw_min": step, "up_down": 0.0, "w_max": high, "w_min": low,
        "gamma_up": slope_up / step * high, "gamma_down": slope_down / step * low,
        "write_noise_std": old["write_noise_std"] * old["dw_min"] / step,
    }  # fmt: skip
    half = (found.weight.high - found.weight.low) / 2
    remark = f"the symmetry point, weight {s:.4g} of the fit, is subtracted: it is weight 0 here; errors are those of the fit"
    return found.model_copy(
        update={
            "device": found.device.model_copy(update={"fields": new}),
            "weight": found.weight.model_copy(update={"low": found.weight.low + s * half, "high": found.weight.high + s * half}),
            "warnings": [*found.warnings, remark],
        }
    )


def fitted(measured: Path) -> ParameterSet:
    """The linear-step device of a measured response, centred, with step noise as published."""
    from fitlab.fit import fit, parameter_set
    from fitlab.io import read

    found = centred(parameter_set(fit(read([measured]), "LinearStep"), "Gong et al. 2018, centred"))
    remark = f"dw_min_std = {STEP_NOISE} as published for these data; {found.device.fields['dw_min_std']:.3g} is an upper limit"
    fields: dict[str, Any] = {**found.device.fields, "dw_min_std": STEP_NOISE}
    return found.model_copy(
        update={"device": found.device.model_copy(update={"fields": fields}), "warnings": [*found.warnings, remark]}
    )
