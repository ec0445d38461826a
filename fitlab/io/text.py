"""Bytes of a file to lines of text: encodings, line ends, aborted files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fitlab.errors import ReadError

LARGEST = 512 * 2**20


@dataclass(frozen=True)
class Source:
    """A text file: its name, the hash of its bytes, its lines without their ends, and how it was encoded."""

    path: Path
    sha256: str
    lines: tuple[str, ...]
    encoding: str

    @property
    def name(self) -> str:
        """File name, as messages show it."""
        return self.path.name


def load(path: str | Path) -> Source:
    """Read a text file.

    Raises
    ------
    ReadError
        No such file, a folder, an empty or binary file, or one larger than 512 MiB.
    """
    path = Path(path)
    if not path.exists():
        raise ReadError("there is no such file; check the path", file=str(path))
    if path.is_dir():
        raise ReadError("this is a folder; give the files in it", file=str(path))
    try:
        if path.stat().st_size > LARGEST:
            raise ReadError(f"the file is larger than {LARGEST // 2**20} MiB; split it by device", file=path.name)
        data = path.read_bytes()
    except OSError as error:
        raise ReadError(f"the file cannot be opened: {error.strerror}", file=str(path)) from None
    digest = hashlib.sha256(data).hexdigest()
    if not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.rstrip(b"\x00")
    if not data.strip():
        raise ReadError("the file is empty", file=path.name)
    text, encoding = _decode(data, path.name)
    return Source(path, digest, tuple(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")), encoding)


def _decode(data: bytes, name: str) -> tuple[str, str]:
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError:
                raise ReadError(f"the file starts as {encoding} but is not; save it as UTF-8 text", file=name) from None
    if b"\x00" in data[:4096] or data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x89PNG", b"\x1f\x8b", b"%PDF")):
        raise ReadError("this is a binary file, not a table of text; export the sheet or the run as CSV", file=name)
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), "cp1252"
