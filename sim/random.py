"""Seeds, keys and named random fields.

A random number is a function of a key and a name, not of what was drawn before: the same seed gives the same numbers
in any order, on any worker and in any group of replicas.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["Draws", "derive_key", "fresh_seeds"]


def derive_key(seed: int, *path: str | int) -> int:
    """Key of a purpose, 64 bits.

    Parameters
    ----------
    seed : int
        Seed of the replica, of any size.
    *path : str or int
        What the numbers are for, for example the name of the tile and of the quantity.

    Returns
    -------
    int
        From 0 to 2^64 - 1; BLAKE2b of the parts, each with its type and length, so that no two paths collide by
        concatenation.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in (seed, *path):
        text = str(part).encode()
        digest.update(f"{'s' if isinstance(part, str) else 'i'}{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest(), "little")


class Draws:
    """Random fields of one shape, each a function of (key, name) only.

    Parameters
    ----------
    key : int
        64-bit key of the purpose, see :func:`derive_key`.
    shape : tuple of int
        Shape of every field, (out, in) for an array.
    """

    def __init__(self, key: int, shape: tuple[int, ...]) -> None:
        self.key = key
        self.shape = shape

    def normal(self, name: str) -> torch.Tensor:
        """Standard normals, float32."""
        from sim import ops

        return ops.normal_field(derive_key(self.key, name), self.shape)

    def uniform(self, name: str) -> torch.Tensor:
        """Uniform numbers in [0, 1), float32."""
        from sim import ops

        return ops.uniform_field(derive_key(self.key, name), self.shape)


def fresh_seeds(n: int) -> list[int]:
    """``n`` seeds from torch's global generator, so that ``torch.manual_seed`` governs them."""
    import torch

    return [int(seed) for seed in torch.randint(0, 2**63 - 1, (n,), dtype=torch.int64)]
