"""The library of torch ops ``torch.ops.sim.*``; those on a GPU are in `sim.cuda`, which is imported when such a tensor comes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

__all__ = ["define", "library"]

library = torch.library.Library("sim", "DEF")


def define(schema: str, cpu: Callable[..., Any], fake: Callable[..., Any], gpu: str = "backend") -> None:
    """An op by its schema: on a CPU, for shapes alone, and, under its name, in a module of ``sim.cuda``."""
    name = schema.partition("(")[0]
    library.define(schema)
    library.impl(name, cpu, "CPU")
    library.impl(name, lambda *args: getattr(import_module(f"sim.cuda.{gpu}"), name)(*args), "CUDA")
    torch.library.register_fake(f"sim::{name}", fake, lib=library)
