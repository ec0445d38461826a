"""The examples of docs/inference.md run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

DOCS = Path(__file__).parents[3] / "docs" / "inference.md"


def test_examples_run() -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, str(DOCS), "exec", dont_inherit=True), names)
    first, x = next(names["model"].analog_tiles()), torch.eye(64)
    assert first.alpha is not None
    assert 1.2 < float(first.alpha) < 1.9  # about (1 + 86400 / 20) ^ 0.05
    drifted, exact = names["model"][0](x).detach(), names["digital"][0](x).detach()
    assert 0.01 < float((drifted - exact).std()) < float(exact.std())
