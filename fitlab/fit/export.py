"""From a Fit to the parameter set that is stored."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fitlab import parameters as ps

from .between import mean_values, spread_fields
from .candidate import Candidate
from .intervals import Requested
from .models import BOUNDS, GAMMAS, OWN
from .population import Spread, paule_mandel, share
from .run import Fit

WIDE = 0.1
"""Part of a positive quantity from which its error makes value +- 1.96 error another interval than that of its logarithm."""


def _rounded(x: Any) -> Any:
    """The same with numbers to 8 significant digits: a person reads the file, and no error is that small."""
    if isinstance(x, float):
        return float(f"{x:.8g}")
    if isinstance(x, dict):
        return {k: _rounded(v) for k, v in x.items()}
    return [_rounded(v) for v in x] if isinstance(x, list) else x


def _number(x: float | None) -> float | None:
    return float(x) if x is not None and np.isfinite(x) else None


def _estimates(c: Candidate, limits: dict[str, float]) -> tuple[dict[str, ps.Estimate], ps.Correlation | None]:
    values, names, covariance = c.fields()
    error = dict(zip(names, np.sqrt(np.maximum(np.diag(covariance), 0)), strict=True))
    out = {}
    for name, value in values.items():
        limit = limits.get({"write_noise_std": "read_noise"}.get(name, name))
        if limit is not None:
            scale = values["dw_min"] if name == "write_noise_std" else 1.0
            out[name] = ps.Estimate(value=0.0, reason="none found; 95 % upper limit in `high`", high=limit / scale)
        elif name in error:
            low, high = c.profiles.get(name, (None, None))
            known = c.likelihood
            if name not in c.profiles and name in known.positive and WIDE * abs(value) < error[name] < abs(value):
                found = known.interval(name) if known.values.get(name) == value else None
                low, high = found or (None, None)
            out[name] = ps.Estimate(value=value, error=float(error[name]), low=low, high=high)
        else:
            reason = c.reason(name) or "fixed"
            out[name] = ps.Estimate(value=value, reason=reason)
    kept = [n for n in names if n in out and out[n].error]
    correlation = None
    if len(kept) > 1:
        index = [names.index(n) for n in kept]
        deviation = np.sqrt(np.diag(covariance)[index])
        matrix = covariance[np.ix_(index, index)] / np.outer(deviation, deviation)
        correlation = ps.Correlation(names=kept, matrix=[[round(float(v), 4) for v in row] for row in matrix])
    return out, correlation


def _weight(fit: Fit) -> ps.Conductance:
    window = fit.window
    return ps.Conductance(low=window.low, high=window.high, unit=window.unit, scale="log" if window.log else "linear")


def _requested(
    found: tuple[dict[str, ps.Estimate], ps.Correlation | None], asked: Requested
) -> tuple[dict[str, ps.Estimate], ps.Correlation | None]:
    """Estimates with the intervals of the method that was asked for."""
    estimates, correlation = found
    out = dict(estimates)
    for name, i in asked.fields.items():
        if name in out and out[name].value:
            error = i.error if i.error is not None else out[name].error
            sides = [word for word, end in (("below", i.low), ("above", i.high)) if end is None]
            reason = f"open {' and '.join(sides)}" if sides else out[name].reason
            out[name] = ps.Estimate(value=out[name].value, error=error, reason=reason, low=i.low, high=i.high)
    return out, correlation


def _population_estimates(fit: Fit, singles: list[dict[str, ps.Estimate]]) -> dict[str, ps.Estimate]:
    """Mean over devices of every field, with the error of the mean (random effects)."""
    if len(singles) == 1:
        return singles[0]
    # what is not a free parameter follows from the means of those, not from the mean of what follows
    model, middle = fit.chosen[0].model, mean_values(fit.chosen)
    derived = {n: v for n, v in model.fields(middle).items() if n not in model.parameters}
    bounds = {n: _mean_bound(fit, n, singles) for n in BOUNDS}
    # slopes refer to the mean bound
    of = dict(zip(GAMMAS, BOUNDS, strict=True))
    part = {n: [1.0 if n not in of else bounds[of[n]][0] / c.stored[of[n]] for c in fit.chosen] for n in singles[0]}
    out = {}
    for name in singles[0]:
        known = [(e.value * f, e.error * abs(f)) for s, f in zip(singles, part[name], strict=True)
                 if (e := s[name]).value is not None and e.error]  # fmt: skip
        if name in bounds and bounds[name][1] is not None:
            out[name] = ps.Estimate(value=bounds[name][0], error=bounds[name][1])
        elif len(known) >= 2:
            spread = paule_mandel(*zip(*known, strict=True))
            out[name] = ps.Estimate(value=derived.get(name, spread.mean), error=spread.mean_error)
        else:
            values = [e.value * f for s, f in zip(singles, part[name], strict=True) if (e := s[name]).value is not None]
            reason = next((s[name].reason for s in singles if s[name].reason), "one device only has an error")
            out[name] = ps.Estimate(value=derived.get(name, float(np.median(values))), reason=reason)
    return out


def _mean_bound(fit: Fit, name: str, singles: list[dict[str, ps.Estimate]]) -> tuple[float, float | None]:
    """Mean of a bound over devices, and its error where devices that do not reach it are allowed for."""
    spread, centre = fit.population.spreads.get(f"{name}_dtod"), mean_values(fit.chosen)
    if spread is not None and spread.beyond:
        size = abs(centre[name])
        return float(np.sign(centre[name])) * spread.mean * size, spread.mean_error * size
    if name not in singles[0]:
        return centre[name], None
    known = [(e.value, e.error) for s in singles if (e := s[name]).value is not None and e.error]
    if len(known) >= 2:
        return paule_mandel(*zip(*known, strict=True)).mean, None
    return float(np.median([c.stored[name] for c in fit.chosen])), None


def _dtod(fit: Fit) -> dict[str, ps.Estimate]:
    out = {}
    for name in spread_fields(fit.chosen[0].model):
        spread: Spread | None = fit.population.spreads.get(name)
        if spread is None:
            why = "one device" if len(fit.chosen) == 1 else f"{name.removesuffix('_dtod')} has no error in at least two devices"
            out[name] = ps.Estimate(reason=f"{ps.NOT_MEASURED}: {why}")
        elif spread.tau_error is None:
            out[name] = ps.Estimate(value=0.0, reason="none found; 95 % upper limit in `high`", low=0.0, high=spread.high)
        else:
            out[name] = ps.Estimate(value=spread.tau, error=spread.tau_error, low=spread.low, high=spread.high)
    return out


def _stuck(fit: Fit) -> ps.Estimate:
    """Share of devices that do not respond: `corrupt_devices_prob`."""
    total = len(fit.dead) + len(fit.chosen)
    if total == 1:
        return ps.Estimate(reason=f"{ps.NOT_MEASURED}: one device")
    found = share(len(fit.dead), total)
    if not fit.dead:
        return ps.Estimate(value=0.0, reason="none found; 95 % upper limit in `high`", low=0.0, high=found.high)
    error = float(np.sqrt(found.value * (1 - found.value) / total))
    return ps.Estimate(value=found.value, error=error, low=found.low, high=found.high)


def parameter_set(fit: Fit, name: str | None = None) -> ps.ParameterSet:
    """The parameter set of the chosen model, or of the table: of the device, or of the mean device with its spreads."""
    pairs = [
        (_requested(_estimates(c, d.limits), r) if r else _estimates(c, d.limits))
        for c, d, r in zip(fit.chosen, fit.diagnoses, fit.requested, strict=True)
    ]
    estimates = _population_estimates(fit, [p[0] for p in pairs])
    model, first = fit.chosen[0].model, fit.chosen[0]
    dtod, stuck = _dtod(fit), _stuck(fit)
    fields: dict[str, ps.Field] = {
        n: e.value for n, e in estimates.items() if e.value is not None and n not in ("read_noise", "write_noise_std", *model.own)
    }
    fields |= model.structure({**mean_values(fit.chosen), **{n: estimates[n].value or 0.0 for n in model.own}})
    if model.writes:
        fields["write_noise_std"] = estimates["write_noise_std"].value or 0.0
    if model.forms:
        fields["mult_noise"] = first.mult_noise
    if "gamma_up" in model.parameters:
        fields["allow_increasing"] = bool(min(c.stored[g] for c in fit.chosen for g in ("gamma_up", "gamma_down")) < 0)
    own = {f"{n}_dtod": n.removeprefix(OWN) for n in model.own}
    fields |= {n: e.value for n, e in dtod.items() if e.value is not None and n not in own}
    if spreads := {own[n]: e.value for n, e in dtod.items() if n in own and e.value is not None}:
        fields["dtod"] = spreads
    warnings = list(fit.warnings)
    read_noise = estimates["read_noise"]
    if not model.writes and read_noise.value:
        warnings.append(f"{model.device} has no write noise: the read noise found is not in the device")
    if fit.dead:
        fields["corrupt_devices_prob"] = len(fit.dead) / (len(fit.dead) + len(fit.chosen))
    if fit.population.log_normal:
        fields["dw_min_dtod_log_normal"] = True
    diagnosis, attrs = fit.diagnoses[0], fit.attrs
    moments = [d.moments for d in fit.diagnoses]
    symmetry = diagnosis.symmetry
    if len(fit.chosen) > 1:
        points = [d.symmetry.value for d in fit.diagnoses if d.symmetry.value is not None]
        point = (
            ps.Estimate(value=float(np.mean(points)), error=float(np.std(points, ddof=1) / np.sqrt(len(points))))
            if len(points) > 1
            else ps.Estimate(reason=symmetry.reason or "no symmetry point in at least two devices")
        )
    else:
        point = ps.Estimate(value=symmetry.value, error=symmetry.error, reason=symmetry.reason)

    def mean(values: list[float]) -> float | None:
        finite = [v for v in values if np.isfinite(v)]
        return float(np.mean(finite)) if finite else None

    best = fit.comparison[0]
    document = ps.ParameterSet(
        name=name or Path(str(attrs["source"]).split(" + ")[0]).stem,
        device=ps.Device(model=model.device, fields=fields),
        weight=_weight(fit),
        parameters=estimates,
        dtod=dtod,
        noise=ps.Noise(
            read_noise=read_noise,
            read_noise_value=(read_noise.value or 0.0) * fit.window.per_w,
            moments_read_noise=mean([m.read_noise for m in moments]),
            moments_step_noise=mean([m.step_noise for m in moments]),
            increment_correlation=mean([m.lag1 for m in moments]),
            variogram_concavity=mean([m.curvature for m in moments]),
            innovation_p=_number(min(d.whiteness for d in fit.diagnoses)),
        ),
        symmetry_point=point,
        goodness=ps.Goodness(
            r2=float(np.mean([c.r2 for c in fit.chosen])),
            nrmse=float(np.mean([c.nrmse for c in fit.chosen])),
            least_squares_r2=float(np.mean([c.least_squares.r2 for c in fit.chosen])),
            least_squares_nrmse=float(np.mean([c.least_squares.nrmse for c in fit.chosen])),
        ),
        comparison=[
            ps.ModelRow(
                model=r.model,
                parameters=r.parameters,
                log_likelihood=r.log_likelihood,
                delta_aicc=r.delta_aicc,
                delta_bic=r.bic - best.bic,
                weight=r.weight,
                r2=r.r2,
                nrmse=r.nrmse,
                held_out=r.held_out,
                held_out_error=r.held_out_error,
            )
            for r in fit.comparison
        ],
        correlation=pairs[0][1] if len(pairs) == 1 else None,
        corrupt_devices=stuck,
        dtod_correlation=[ps.DtodCorrelation(**asdict(p)) for p in fit.population.pairs],
        outliers=[ps.OutlyingDevice(device=o.device, field=o.field, deviation=o.deviation) for o in fit.population.outliers],
        trends={
            n: ps.CycleTrend(
                cycles=t.cycles, spread=t.spread, spread_error=t.spread_error, slope=t.slope, low=t.slope_low, high=t.slope_high
            )
            for n, t in fit.trends.items()
        },
        protocol=ps.Protocol(
            devices=len(fit.chosen) + len(fit.dead) + len(fit.failures),
            cycles=int(attrs["cycles"]),
            reads_up=int(attrs["reads_up"]),
            reads_down=int(attrs["reads_down"]),
            flagged=int(attrs["flagged"]),
            left_out=list(fit.dead),
            failed={f.name: f.reason for f in fit.failures},
        ),
        source=ps.Source(
            files=str(attrs["source"]),
            sha256=str(attrs["sha256"]),
            reader=str(attrs["reader"]),
            unit=str(attrs["unit"]),
            read_voltage_V=attrs.get("read_voltage_V"),
            assumptions=[str(a) for a in attrs["assumptions"]],
        ),
        intervals=next((r.method for r in fit.requested if r), "curvature"),
        warnings=warnings,
        versions=ps.versions(),
        devices=[
            ps.Single(
                name=d.name,
                values={n: float(e.value) for n, e in p[0].items() if e.value is not None},
                errors={n: float(e.error) for n, e in p[0].items() if e.error is not None},
                r2=c.r2,
            )
            for d, p, c in zip(fit.devices, pairs, fit.chosen, strict=True)
        ]
        if len(pairs) > 1
        else [],
    )
    if fit.table:
        from .table import as_table  # it needs the simulator's devices, whose import takes longer than a fit

        document = as_table(fit, document)
    return ps.ParameterSet.model_validate(_rounded(document.model_dump()))
