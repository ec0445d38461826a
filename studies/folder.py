"""The folder of a study: everything needed to resume, read and plot it, nothing else on the machine."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studies.errors import StudyError
from studies.records import Outcome

__all__ = ["Folder", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    name = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(name, "x", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


class Folder:
    """Names and small files of a study folder.

    Parameters
    ----------
    path : str or Path
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.study = self.path / "study.toml"
        self.inputs = self.path / "inputs"
        self.resolved = self.path / "resolved.json"
        self.provenance = self.path / "provenance.json"
        self.results = self.path / "results.zarr"
        self.failures = self.path / "failures.jsonl"
        self.progress = self.path / "progress.json"
        self.figures = self.path / "figures"
        self.shard = self.path / "shard.json"

    def exists(self) -> bool:
        """Whether a study lives here."""
        return self.study.is_file() and self.results.is_dir()

    def require(self) -> Folder:
        """Return itself, or say that there is no study.

        Raises
        ------
        StudyError
        """
        if not self.exists():
            raise StudyError(f"{self.path}: is not the folder of a study; make one with: fitlab study run FILE -o DIR")
        return self

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer; the lock ends with the process, however it ends.

        Raises
        ------
        StudyError
            When another process is running this study.
        """
        import fcntl

        with open(self.path / "lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StudyError(f"{self.path}: another process is running this study; wait for it, or stop it first") from None
            yield

    def busy(self) -> bool:
        """Whether a process is running this study now."""
        import fcntl

        if not (self.path / "lock").exists():
            return False
        with open(self.path / "lock") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def write_part(self, part: tuple[int, int]) -> None:
        """Say that this folder holds one part of a study: (number from 1, of how many)."""
        write_text(self.shard, json.dumps(part) + "\n")

    def part(self) -> tuple[int, int] | None:
        """Which part of a study this folder holds; None for all of it."""
        if not self.shard.exists():
            return None
        number, count = json.loads(self.shard.read_text(encoding="utf-8"))
        return int(number), int(count)

    def write_resolved(self, resolved: dict[str, Any]) -> None:
        """Replace ``resolved.json``."""
        write_text(self.resolved, json.dumps(resolved, indent=2) + "\n")

    def read_resolved(self) -> dict[str, Any]:
        """Read ``resolved.json``."""
        return dict(json.loads(self.resolved.read_text(encoding="utf-8")))

    def note_start(self, record: dict[str, Any]) -> None:
        """Append to the list of runs in ``provenance.json``."""
        runs = self._runs()
        runs.append({"started": _now(), **record})
        write_text(self.provenance, json.dumps(runs, indent=2) + "\n")

    def note_stop(self, outcome: str) -> None:
        """Say how the last run ended."""
        runs = self._runs()
        runs[-1] |= {"stopped": _now(), "outcome": outcome}
        write_text(self.provenance, json.dumps(runs, indent=2) + "\n")

    def _runs(self) -> list[dict[str, Any]]:
        if not self.provenance.exists():
            return []
        return list(json.loads(self.provenance.read_text(encoding="utf-8")))

    def log_failures(self, outcomes: list[Outcome], attempt: int) -> None:
        """Append one line for each failed pair to ``failures.jsonl``."""
        if not outcomes:
            return
        lines = []
        for o in outcomes:
            record = {
                "time": _now(),
                "point": o.pair.point_id,
                "replicate": o.pair.replicate,
                "settings": o.pair.settings,
                "attempt": attempt,
                "worker": o.worker,
                "error": o.error,
                "message": o.message,
                "traceback": o.traceback,
            }
            lines.append(json.dumps(record, default=str) + "\n")
        with open(self.failures, "a+b", buffering=0) as file:
            # A writer that was killed may have left half a line.
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    lines.insert(0, "\n")
            content = "".join(lines).encode()
            try:
                if file.write(content) != len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.failures))
            except OSError:
                file.truncate(end)
                raise

    def read_failures(self) -> list[dict[str, Any]]:
        """Failures, oldest first; a half-written last line is left out."""
        if not self.failures.exists():
            return []
        records = []
        for line in self.failures.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                records.append(json.loads(line))
        return records

    @staticmethod
    def copy_input(source: Path, inputs: Path) -> None:
        """Keep a copy of a file that the study names."""
        inputs.mkdir(parents=True, exist_ok=True)
        temporary = inputs / f".{source.name}.new"
        shutil.copyfile(source, temporary)
        os.replace(temporary, inputs / source.name)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
