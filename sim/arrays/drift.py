"""Power-law drift of weights since their last write (devices.md, 7.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sim.devices.base import DriftParameter, SimpleDriftParameter

__all__ = ["Drift"]

FIELDS = ("t_0", "reset_tol", "nu_std", "wg_ratio", "g_offset", "w_offset", "nu_k", "log_g0", "w_noise_std")


class Drift(nn.Module):
    """State and law of the drift of one array.

    A weight that changed by more than `reset_tol` since the last call counts as rewritten, at this call. Otherwise

        w = w_0 s + A (s - 1),   s = max(t - t_w, 1)^(-nu),   A = g_offset wg_ratio - w_offset

    with t the time in units of t_0, w_0 and t_w weight and time of the last rewrite, nu the exponent of the crosspoint.

    Parameters
    ----------
    parameters : sequence of R drift parameters
    shape : (out, in)
    """

    t_0: Tensor
    reset_tol: Tensor
    nu_std: Tensor
    wg_ratio: Tensor
    g_offset: Tensor
    w_offset: Tensor
    nu_k: Tensor
    log_g0: Tensor
    w_noise_std: Tensor
    clock: Tensor
    written: Tensor
    written_at: Tensor
    last: Tensor

    def __init__(self, parameters: Sequence[SimpleDriftParameter], shape: tuple[int, int]) -> None:
        super().__init__()
        full = [_complete(p) for p in parameters]
        for name in FIELDS:
            self.register_buffer(name, torch.tensor([float(getattr(p, name)) for p in full]).reshape(-1, 1, 1))
        replicas = len(full)
        self.register_buffer("clock", torch.full((replicas, 1, 1), -1.0))  # below 0: not called yet
        for name in ("written", "written_at", "last"):
            self.register_buffer(name, torch.zeros(replicas, *shape))

    def forward(
        self, w: Tensor, nu: Tensor, elapsed: float, clip: Callable[[Tensor], Tensor], normal: Callable[[int], Tensor]
    ) -> Tensor:
        """Weights (R, out, in) after ``elapsed`` more seconds.

        nu is (R, out, in) or (R, 1, 1); ``clip`` keeps weights within the bounds of the devices; ``normal(k)`` gives the
        k-th field of normals of this call, 0 for the exponents and 1 for the weights.
        """
        if bool((self.clock < 0).all()):
            self.clock.zero_()
            self.written.copy_(w)
            self.last.copy_(w)
        self.clock += elapsed / self.t_0
        rewritten = (self.last - w).abs() > self.reset_tol
        self.written_at.copy_(torch.where(rewritten, self.clock, self.written_at))
        self.written.copy_(torch.where(rewritten, w, self.written))
        if bool((self.nu_std > 0).any()):
            nu = nu + self.nu_std * nu * normal(0)
        if bool((self.nu_k != 0).any()):
            conductance = (w - self.w_offset) / self.wg_ratio + self.g_offset
            shift = self.nu_k * (self.log_g0 - conductance.clamp(min=1e-30).log())
            nu = nu + torch.where(self.nu_k != 0, shift, 0.0)
        offset = self.g_offset * self.wg_ratio - self.w_offset
        offset = torch.where(offset.abs() < self.reset_tol, 0.0, offset)
        factor = (self.clock - self.written_at).clamp(min=1.0) ** -nu
        drifted = torch.where(rewritten, w, self.written * factor + offset * (factor - 1.0))
        if bool((self.w_noise_std > 0).any()):
            drifted = drifted + self.w_noise_std * normal(1)
        drifted = clip(drifted)
        self.last.copy_(drifted)
        return drifted


def _complete(p: SimpleDriftParameter) -> DriftParameter:
    return p if isinstance(p, DriftParameter) else DriftParameter(nu=p.nu, t_0=p.t_0, reset_tol=p.reset_tol)
