"""What is made of tensors once and kept beside them."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

__all__ = ["Packed"]

T = TypeVar("T")


class Packed(dict[Hashable, T]):
    """A dictionary that copies and pickles as an empty one: it holds addresses, which another process or copy does not share."""

    def __reduce__(self) -> tuple[type[Packed[T]], tuple[()]]:
        return Packed, ()
