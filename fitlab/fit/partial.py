"""Results of a long fit on disk while it runs: what was done before an interruption is not done again."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

from fitlab.errors import FitError
from fitlab.parameters import versions, write_atomically

_MARK = "fit.json"


class Partial:
    """A folder of batches of one fit, named by what was fitted: other data or models are refused.

    Batches are pickles, which only this program should have written; a batch that cannot be read is done again.
    """

    def __init__(self, folder: Path, source: dict[str, Any]) -> None:
        self.folder = folder
        mark = folder / _MARK
        told = {**source, "versions": versions()}
        self.key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        if folder.exists():
            try:
                found = json.loads(mark.read_text(encoding="utf-8"))["key"]
            except (OSError, ValueError, KeyError, TypeError):
                raise FitError(f"{folder}: exists and holds no partial fit; choose another folder, or move it away") from None
            if found != self.key:
                raise FitError(
                    f"{folder}: holds a partial fit of other data, models or versions; remove it, or choose another folder"
                )
            return
        try:
            folder.mkdir()
        except OSError as error:
            raise FitError(f"{folder}: cannot be made ({error.strerror}); choose another folder") from None
        write_atomically(mark, json.dumps({"key": self.key, **told}, indent=2).encode())

    def get(self, stage: str, batch: int) -> list[Any] | None:
        """Results of a batch that was done before."""
        path = self._path(stage, batch)
        if not path.exists():
            return None
        try:
            found = pickle.loads(path.read_bytes())
        except Exception:
            return None
        return found if isinstance(found, list) else None

    def put(self, stage: str, batch: int, results: list[Any]) -> None:
        """Keep the results of a batch."""
        write_atomically(self._path(stage, batch), pickle.dumps(results, protocol=5))

    def remove(self) -> None:
        """Take the folder away once the fit is written."""
        shutil.rmtree(self.folder)

    def _path(self, stage: str, batch: int) -> Path:
        return self.folder / f"{stage}_{batch:06d}.pickle"
