"""Digital factors on the outputs of a tile that undo its mean drift (inference.md, section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sim.settings import Config, config

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "BaseDriftCompensation",
    "GlobalDriftCompensation",
    "GlobalDriftCompensationWithExactReference",
    "NoDriftCompensation",
    "PerColumnDriftCompensation",
]

SMALLEST = 1e-4


@config
class BaseDriftCompensation(Config):
    """Read a tile out after programming and after drift; outputs are multiplied by the ratio.

    A scheme of your own is a subclass that overrides `readout`, and `get_readout_tensor` for other inputs than one at a time.
    With ``exact_reference`` the first read-out is the exact product with the weights that were to be programmed.
    """

    abstract = True
    exact_reference: ClassVar[bool] = False

    def get_readout_tensor(self, in_size: int) -> Tensor:
        """Inputs (samples, in) of a read-out; by default one input after the other."""
        import torch

        return torch.eye(in_size)

    def readout(self, out_tensor: Tensor) -> Tensor:
        """One number, or one for each output, of the outputs (samples, out) of a read-out."""
        raise NotImplementedError(f"{type(self).__name__}.readout")


@config
class GlobalDriftCompensation(BaseDriftCompensation):
    """One factor a tile: the mean magnitude of the read-out. Source: V. Joshi et al., Nat. Commun. 11, 2473 (2020)."""

    def readout(self, out_tensor: Tensor) -> Tensor:
        # Sums of rows, then their sum: the same bits for any number of threads.
        return out_tensor.abs().double().mean(dim=1).mean().clamp(min=SMALLEST).to(out_tensor.dtype)


@config
class GlobalDriftCompensationWithExactReference(GlobalDriftCompensation):
    """`GlobalDriftCompensation` whose first read-out is exact: it has no read noise and corrects the mean programming error."""

    exact_reference: ClassVar[bool] = True


@config
class PerColumnDriftCompensation(BaseDriftCompensation):
    """One factor for each output."""

    def readout(self, out_tensor: Tensor) -> Tensor:
        return out_tensor.abs().double().T.contiguous().mean(dim=1).clamp(min=SMALLEST).to(out_tensor.dtype)


@config
class NoDriftCompensation(BaseDriftCompensation):
    """No factor, no read-out; assigning None to ``drift_compensation`` gives it."""
