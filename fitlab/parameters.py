"""The parameter-set file: a fitted device that a person can read and diff, and that the simulator can run.

TOML, schema versioned. `load(path)`, `ParameterSet.save(path)`, `.to_device()`, `.to_rpu_config()`.
"""

from __future__ import annotations

import math
import os
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from fitlab.errors import ParameterFileError

if TYPE_CHECKING:
    from sim.configs import SingleRPUConfig
    from sim.devices.base import PulsedDevice

SCHEMA = 1
NOT_MEASURED = "not measured"


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Estimate(_Document):
    """A value with its standard error, or the reason why there is no error, or no value.

    `low` and `high` bound the 95 % interval where it is not value +- 1.96 error.
    """

    value: float | None = None
    error: Annotated[float, Ge(0)] | None = None
    reason: str | None = None
    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _explained(self) -> Estimate:
        if (self.value is None or self.error is None) and self.reason is None:
            raise ValueError("needs a value and an error, or the reason why there is none")
        return self


Field = bool | int | float | str | list[float] | dict[str, float]
"""A field of a device: a number, a formula, a list of nodes, or numbers by name."""


class Device(_Document):
    """Class in `sim.devices` and its fields. Spreads that were not measured are not among them."""

    model: str
    fields: dict[str, Field]


class Conductance(_Document):
    """Map between weight and measured quantity: value = low + (w + 1) / 2 (high - low); with `scale` "log" of the logarithms."""

    low: float
    high: float
    unit: str
    scale: Literal["linear", "log"] = "linear"

    def to_value(self, w: float) -> float:
        """Measured quantity at a weight."""
        if self.scale == "log":
            return float(self.low * (self.high / self.low) ** ((w + 1) / 2))
        return self.low + (w + 1) / 2 * (self.high - self.low)

    def to_weight(self, value: float) -> float:
        """Weight at a measured quantity."""
        if self.scale == "log":
            return 2 * math.log(value / self.low) / math.log(self.high / self.low) - 1
        return 2 * (value - self.low) / (self.high - self.low) - 1


class Noise(_Document):
    """Read and step noise: from the likelihood and, beside it, from moments of the increments; in weight units."""

    read_noise: Estimate
    read_noise_value: float
    moments_read_noise: float | None = None
    moments_step_noise: float | None = None
    increment_correlation: float | None = None
    variogram_concavity: float | None = None
    innovation_p: float | None = None


class ModelRow(_Document):
    """One line of the model comparison."""

    model: str
    parameters: int
    log_likelihood: float
    delta_aicc: float
    delta_bic: float
    weight: float
    r2: float
    nrmse: float
    held_out: float | None = None
    held_out_error: float | None = None


class Correlation(_Document):
    """Correlation matrix of the errors, rows and columns as named."""

    names: list[str]
    matrix: list[list[float]]


class DtodCorrelation(_Document):
    """Correlation between devices of two fields, with error and 95 % interval."""

    first: str
    second: str
    value: float
    error: float
    low: float
    high: float


class OutlyingDevice(_Document):
    """A device far from the others, in standard deviations."""

    device: str
    field: str
    deviation: float


class CycleTrend(_Document):
    """Change of a free parameter of the fit over cycles: spread beyond the errors of the fits, and slope a cycle with its 95 %
    interval."""

    cycles: int
    spread: float
    spread_error: float | None = None
    slope: float
    low: float
    high: float


class Goodness(_Document):
    """Mean trajectory of the stored parameters, and the best that least squares reaches with the same model."""

    r2: float
    nrmse: float
    least_squares_r2: float
    least_squares_nrmse: float


class Single(_Document):
    """Fitted values of one of several devices."""

    name: str
    values: dict[str, float]
    errors: dict[str, float]
    r2: float


class Protocol(_Document):
    """What was measured."""

    devices: int
    cycles: int
    reads_up: int
    reads_down: int
    flagged: int
    left_out: list[str] = []
    failed: dict[str, str] = {}


class Source(_Document):
    """Where the data come from and what was assumed."""

    files: str
    sha256: str
    reader: str
    unit: str
    read_voltage_V: float | None = None
    assumptions: list[str] = []


class ParameterSet(_Document):
    """A fitted device with errors, noise, spreads, provenance."""

    schema_version: Literal[1] = 1
    name: str
    device: Device
    weight: Conductance
    parameters: dict[str, Estimate]
    dtod: dict[str, Estimate]
    noise: Noise
    symmetry_point: Estimate
    goodness: Goodness
    comparison: list[ModelRow]
    correlation: Correlation | None = None
    corrupt_devices: Estimate = Estimate(reason=NOT_MEASURED)
    dtod_correlation: list[DtodCorrelation] = []
    outliers: list[OutlyingDevice] = []
    trends: dict[str, CycleTrend] = {}
    protocol: Protocol
    source: Source
    intervals: str = "curvature"
    warnings: list[str] = []
    versions: dict[str, str] = {}
    devices: list[Single] = []

    def to_device(self, **spreads: float) -> PulsedDevice:
        """Device configuration of the simulator.

        Parameters
        ----------
        **spreads : float
            Fields to set beside the fitted ones. Spreads between devices that were not measured are 0 unless given
            here: the simulator's defaults are no measurement.
        """
        import dataclasses

        import sim.devices

        kind = getattr(sim.devices, self.device.model)
        known = {f.name for f in dataclasses.fields(kind)}
        unmeasured = {n: 0.0 for n in known if n in _SPREADS and n not in self.device.fields}
        values: dict[str, Any] = {**unmeasured, **self.device.fields, **spreads}
        return kind(**values)

    def to_rpu_config(self, **spreads: float) -> SingleRPUConfig:
        """Tile configuration with this device and the defaults of everything else."""
        from sim.configs import SingleRPUConfig

        return SingleRPUConfig(device=self.to_device(**spreads))

    def to_toml(self) -> str:
        """The file's text."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all."""
        write_atomically(Path(path), self.to_toml().encode())


_SPREADS = (
    "dw_min_dtod",
    "up_down_dtod",
    "w_max_dtod",
    "w_min_dtod",
    "gamma_up_dtod",
    "gamma_down_dtod",
    "pow_gamma_dtod",
    "pow_up_down_dtod",
    "slope_up_dtod",
    "slope_down_dtod",
    "reference_std",
)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file under a temporary name and move it into place.

    Raises
    ------
    ParameterFileError
        The folder does not exist or cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ParameterFileError(f"{path}: cannot be written ({error.strerror}); choose another folder") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        raise ParameterFileError(f"{path}: cannot be written ({error.strerror}); choose another name") from None


def load(path: str | Path) -> ParameterSet:
    """Read a parameter set.

    Raises
    ------
    ParameterFileError
        Not there, not TOML, another schema, unknown or missing keys: every fault with its key.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParameterFileError(f"{path}: there is no such file; `fitlab fit DATA.csv -o {path.name}` writes one") from None
    except OSError as error:
        raise ParameterFileError(f"{path}: cannot be opened ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterFileError(f"{path}: this is not TOML ({error}); a parameter set is written by `fitlab fit`") from None
    version = data.get("schema_version")
    if version != SCHEMA:
        raise ParameterFileError(
            f"{path}: schema_version: {version!r} given, {SCHEMA} expected; fit the data again with this version"
        )
    try:
        found = ParameterSet.model_validate(data)
    except ValidationError as error:
        raise ParameterFileError(f"{path}: {_faults(error)}") from None
    _check_device(path, found)
    return found


def _faults(error: ValidationError) -> str:
    parts = []
    for fault in error.errors():
        key = ".".join(str(k) for k in fault["loc"])
        if fault["type"] == "extra_forbidden":
            parts.append(f"{key}: there is no such key; remove it")
        elif fault["type"] == "missing":
            parts.append(f"{key}: is missing; fit the data again or add it")
        else:
            parts.append(f"{key}: {fault['msg']}, given {fault['input']!r}")
    return "; ".join(parts)


def _check_device(path: Path, found: ParameterSet) -> None:
    from sim.errors import ConfigError

    try:
        found.to_device()
    except AttributeError:
        import sim.devices

        listed = ", ".join(sim.devices.models())
        raise ParameterFileError(
            f"{path}: device.model: '{found.device.model}' is no device model; choose from {listed}"
        ) from None
    except ConfigError as error:
        raise ParameterFileError(f"{path}: device.fields: {error}") from None


def versions() -> dict[str, str]:
    """Versions of what made the set."""
    from importlib.metadata import PackageNotFoundError, version

    out = {}
    for name in ("fitlab", "lmfit", "numpy", "scipy"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out
