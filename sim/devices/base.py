"""What all devices at a crosspoint share."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Annotated, ClassVar

from sim.devices.spread import Value, decay_scale, idealise_last_column, magnitude, normal_spread, where
from sim.errors import ConfigError
from sim.random import Draws, derive_key
from sim.settings import Config, NonNegative, Positive, Probability, Range, Real, config

if TYPE_CHECKING:
    import torch

__all__ = [
    "HIDDEN",
    "AnalogDevice",
    "Device",
    "DriftParameter",
    "PulsedDevice",
    "SimpleDriftParameter",
    "WriteNoiseDevice",
]

HIDDEN = (
    "max_bound",
    "min_bound",
    "dwmin_up",
    "dwmin_down",
    "decay_scales",
    "diffusion_rates",
    "reset_bias",
    "drift_nu",
)
"""Names of the per-crosspoint quantities that every pulsed device has, in their standard order."""

Seed = Annotated[int, Range(low=0, high=2**63 - 1)]


@config
class SimpleDriftParameter(Config):
    """Power-law drift with one exponent for all weights: w(t) = w0 (t / t_0)^(-nu)."""

    nu: Annotated[NonNegative, "mean drift exponent; 0 = no drift"] = 0.0
    t_0: Annotated[Positive, "time unit and earliest read time after a write"] = 1.0
    reset_tol: Annotated[NonNegative, "change above which a weight counts as rewritten"] = 1e-7


@config
class DriftParameter(SimpleDriftParameter):
    r"""Power-law drift of a pulsed device since its last write, :math:`w = w_0 s + A (s - 1)`.

    .. math:: s = \max(t - t_w, 1)^{-\nu}, \quad A = g_{offset}\, wg_{ratio} - w_{offset}
    """

    nu_dtod: Annotated[NonNegative, "device-to-device spread of the exponent, relative to nu"] = 0.0
    nu_std: Annotated[NonNegative, "spread from call to call, relative to the device's own exponent"] = 0.0
    wg_ratio: Annotated[Positive, "weight per conductance"] = 1.0
    g_offset: Annotated[Real, "conductance offset"] = 0.0
    w_offset: Annotated[Real, "weight that corresponds to g_offset"] = 0.0
    nu_k: Annotated[Real, "dependence of the exponent on the natural log of the conductance"] = 0.0
    log_g0: Annotated[Real, "natural log of the reference conductance"] = 0.0
    w_noise_std: Annotated[NonNegative, "std of the noise added after each call"] = 0.0


@config
class Device(Config):
    """What holds a weight."""

    abstract = True


@config
class AnalogDevice(Device):
    """What can sit at a crosspoint of an analog tile."""

    abstract = True

    construction_seed: Annotated[Seed, "seed of the device-to-device spread; 0 = the seed of the tile"] = 0


@config
class PulsedDevice(AnalogDevice):
    r"""A resistive device that changes by pulses.

    Weights are normalised; spreads are relative to the quantity that they modify unless said otherwise. A pulse adds
    or subtracts the step of the model, then the weight is clipped to the bounds of its own crosspoint. Up and down
    steps at w = 0 are

    .. math:: s_\uparrow = (gain + \min(b, 0) + r)\, dw_{min}, \quad
        s_\downarrow = (gain - \max(b, 0) - r)\, dw_{min}

    gain = 1 + dw_min_dtod :math:`\xi` (or exp(dw_min_dtod :math:`\xi`)), b = up_down, r = up_down_dtod :math:`\xi`;
    every :math:`\xi` is a standard normal of the crosspoint. Only the weaker direction is changed by up_down.

    Source: T. Gokmen and Y. Vlasov, Front. Neurosci. 10, 333 (2016); M. J. Rasch, T. Gokmen and W. Haensch,
    IEEE Design & Test (2019), arXiv:1906.02698.
    """

    abstract = True
    kernel: ClassVar[str]
    """Stem of the header in sim/core/devices that holds the equation."""
    kernel_scalars: ClassVar[tuple[str, ...]] = ()
    """Own fields that the kernel takes as they are, the same at every crosspoint."""
    own_hidden: ClassVar[tuple[str, ...]] = ()
    """Names of the per-crosspoint quantities of this model, in their standard order."""

    dw_min: Annotated[Positive, "mean step size over devices and directions"] = 0.001
    dw_min_dtod: Annotated[NonNegative, "device-to-device spread of the step size"] = 0.3
    dw_min_dtod_log_normal: Annotated[bool, "the spread of the step size is log-normal with median 1"] = False
    dw_min_std: Annotated[NonNegative, "cycle-to-cycle noise of one pulse, relative to the step"] = 0.3
    up_down: Annotated[Real, "asymmetry: below 0 weakens up steps, above 0 weakens down steps"] = 0.0
    up_down_dtod: Annotated[NonNegative, "device-to-device spread of the asymmetry, relative to dw_min"] = 0.01
    w_max: Annotated[NonNegative, "mean upper bound"] = 0.6
    w_max_dtod: Annotated[NonNegative, "device-to-device spread of the upper bound"] = 0.3
    w_min: Annotated[float, Range(high=0.0), "mean lower bound"] = -0.6
    w_min_dtod: Annotated[NonNegative, "device-to-device spread of the lower bound"] = 0.3
    enforce_consistency: Annotated[bool, "fold negative steps and bounds on the wrong side"] = True
    perfect_bias: Annotated[bool, "the last column has no spread and 100-fold bounds"] = False
    corrupt_devices_prob: Annotated[Probability, "probability that a crosspoint is stuck"] = 0.0
    corrupt_devices_range: Annotated[NonNegative, "stuck values lie within plus or minus this weight"] = 0.1
    diffusion: Annotated[NonNegative, "std of one diffusion step, in weight"] = 0.0
    diffusion_dtod: Annotated[NonNegative, "device-to-device spread of diffusion"] = 0.0
    lifetime: Annotated[NonNegative, "decay calls until 1/e; 0 = no decay"] = 0.0
    lifetime_dtod: Annotated[NonNegative, "device-to-device spread of lifetime"] = 0.0
    reset: Annotated[Real, "mean target of a reset and fixed point of the decay, in weight"] = 0.0
    reset_dtod: Annotated[NonNegative, "device-to-device spread of the target, in weight"] = 0.0
    reset_std: Annotated[NonNegative, "cycle-to-cycle noise of a reset, in weight"] = 0.01
    drift: Annotated[DriftParameter, "power-law drift"] = field(default_factory=DriftParameter)
    count_pulses: Annotated[bool, "count the pulses of every crosspoint"] = False

    def granularity(self) -> float:
        """Assumed weight change of one pulse near w = 0; sets how many pulses a gradient is turned into."""
        return self.dw_min

    def granularity_up(self) -> float:
        """The same where only up pulses are given: in a one-sided cell."""
        return self.granularity()

    def num_states(self) -> float:
        """Number of steps between the mean bounds."""
        return (self.w_max - self.w_min) / self.granularity()

    def shared(self) -> list[float]:
        """What the model shares over the whole array (nodes, tables); its length is structure."""
        return []

    @property
    def write_noise(self) -> float:
        """Std of the write noise in weight units; 0 where the model has none."""
        return 0.0

    def construction_key(self, tile_key: int) -> int:
        """Key of the hidden parameters: the tile's, or one that depends on ``construction_seed`` only."""
        return derive_key(self.construction_seed, "construction") if self.construction_seed else tile_key

    def mirrored(self, values: dict[str, Value]) -> dict[str, Value]:
        """Hidden parameters of the mirror image, whose up pulses are the down pulses of this one and w its -w.

        Raises
        ------
        ConfigError
            If the model shares data over the array (nodes, tables, a formula), which cannot be mirrored for one replica.
        """
        if self.shared():
            raise ConfigError(f"{type(self).__name__} cannot be mirrored: set copy_inverted to false", field="copy_inverted")
        out = dict(values)
        for name in values:
            if name.endswith("_up"):
                down = name.removesuffix("_up") + "_down"
                out[name], out[down] = values[down], values[name]
        out["max_bound"], out["min_bound"] = -values["min_bound"], -values["max_bound"]
        for name in ("slope_up", "slope_down", "reference", "reset_bias", "b"):
            if name in out:
                out[name] = -out[name]
        return out

    def draw(self, shape: tuple[int, int], draws: Draws) -> dict[str, Value]:
        """Hidden parameters of one replica, and the kernel's scalars.

        Parameters
        ----------
        shape : tuple of int
            (out, in) of the array.
        draws : Draws
            Named random fields of that shape.

        Returns
        -------
        dict
            A quantity with spread is a float32 tensor (out, in), one without a plain float.
        """
        values = self._draw_common(shape, draws)
        values |= {name: float(getattr(self, name)) for name in self.kernel_scalars}
        values |= self.draw_model(values, draws)
        return values

    def draw_model(self, values: dict[str, Value], draws: Draws) -> dict[str, Value]:
        """What this model adds to the common parameters, or changes in them."""
        return {}

    def hidden(self, values: dict[str, Value], persistent: torch.Tensor | None = None) -> dict[str, Value]:
        """Hidden parameters under their standard names and in their standard order.

        Parameters
        ----------
        values : dict
            What :meth:`draw` gave.
        persistent : torch.Tensor, optional
            Persistent weights (out, in) of a device with write noise.
        """
        out = {name: values[name] for name in HIDDEN}
        if persistent is not None:
            out["persistent_weights"] = persistent
        return out | self.hidden_model(values)

    def hidden_model(self, values: dict[str, Value]) -> dict[str, Value]:
        """The hidden parameters of this model, computed from what was drawn where the kernel derives them itself."""
        return {name: values[name] for name in self.own_hidden}

    def mean_steps(self) -> tuple[float, float]:
        """Step sizes up and down at w = 0 of a device without spread, before the model scales them."""
        return (1.0 + min(self.up_down, 0.0)) * self.dw_min, (1.0 - max(self.up_down, 0.0)) * self.dw_min

    def _draw_common(self, shape: tuple[int, int], draws: Draws) -> dict[str, Value]:
        """Bounds, steps, consistency, stuck devices, perfect bias, then the slow operators (in this order)."""
        upper = normal_spread(self.w_max, self.w_max_dtod, draws, "max_bound")
        lower = normal_spread(self.w_min, self.w_min_dtod, draws, "min_bound")
        up, down = self._draw_steps(draws)
        if self.enforce_consistency:
            up, down = magnitude(up), magnitude(down)
            swapped = lower > upper
            lower, upper = where(swapped, upper, lower), where(swapped, lower, upper)
            lower, upper = -magnitude(lower), magnitude(upper)
        else:
            frozen, middle = lower > upper, (lower + upper) / 2
            lower, upper = where(frozen, middle, lower), where(frozen, middle, upper)
        if self.corrupt_devices_prob > 0:
            stuck = draws.uniform("corrupt") < self.corrupt_devices_prob
            reach = self.corrupt_devices_range
            low = where(lower < -reach, -reach, lower)
            high = where(upper > reach, reach, upper)
            value = low + (high - low) * draws.uniform("corrupt_value")
            lower, upper = where(stuck, value, lower), where(stuck, value, upper)
            up, down = where(stuck, 0.0, up), where(stuck, 0.0, down)
        if self.perfect_bias:
            up = idealise_last_column(up, shape, self.dw_min)
            down = idealise_last_column(down, shape, self.dw_min)
            lower = idealise_last_column(lower, shape, 100 * self.w_min)
            upper = idealise_last_column(upper, shape, 100 * self.w_max)
        lifetime = normal_spread(self.lifetime, self.lifetime_dtod, draws, "lifetime")
        return {
            "max_bound": upper,
            "min_bound": lower,
            "dwmin_up": up,
            "dwmin_down": down,
            "decay_scales": decay_scale(lifetime) if self.lifetime > 0 else 1.0,
            "diffusion_rates": magnitude(normal_spread(self.diffusion, self.diffusion_dtod, draws, "diffusion")),
            "reset_bias": self.reset + self.reset_dtod * draws.normal("reset") if self.reset_dtod > 0 else self.reset,
            "drift_nu": normal_spread(self.drift.nu, self.drift.nu_dtod, draws, "drift_nu"),
        }

    def _draw_steps(self, draws: Draws) -> tuple[Value, Value]:
        """Step sizes up and down, of either sign."""
        gain: Value = 1.0
        if self.dw_min_dtod > 0:
            spread = self.dw_min_dtod * draws.normal("gain")
            gain = spread.exp() if self.dw_min_dtod_log_normal else 1.0 + spread
        ratio: Value = self.up_down_dtod * draws.normal("up_down") if self.up_down_dtod > 0 else 0.0
        up = (gain + min(self.up_down, 0.0) + ratio) * self.dw_min
        down = (gain - max(self.up_down, 0.0) - ratio) * self.dw_min
        return up, down


@config
class WriteNoiseDevice(PulsedDevice):
    """A pulsed device whose written weight differs from its internal state.

    The apparent weight is a = p + write_noise_std dw_min xi; it is drawn anew for a crosspoint that gets a pulse.
    """

    abstract = True

    write_noise_std: Annotated[NonNegative, "std of the write noise, in units of dw_min"] = 0.0
    apply_write_noise_on_set: Annotated[bool, "setting weights draws write noise too"] = True

    @property
    def write_noise(self) -> float:
        """Std of the write noise in weight units."""
        return self.write_noise_std * self.dw_min
