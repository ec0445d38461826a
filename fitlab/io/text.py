"""Bytes of a file to lines of text: encodings, line ends, compression, aborted files; sheets of workbooks."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from fitlab.errors import ReadError

from .hdf5 import HISTORY, SIGNATURE, histories

LARGEST = 512 * 2**20


@dataclass(frozen=True)
class Source:
    """Lines of text without their ends: a file, a sheet of a workbook, or a part of either.

    Attributes
    ----------
    numbers : line number of each line in the file, where they are not 1, 2, ...
    notes : what stands beside the lines
    separator : sign between fields where it is known
    sheet : name of the sheet of a workbook
    """

    path: Path
    sha256: str
    lines: tuple[str, ...]
    encoding: str
    numbers: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    separator: str | None = None
    sheet: str | None = None

    @property
    def name(self) -> str:
        """File name, with the sheet, as messages show it."""
        return self.path.name + (f"[{self.sheet}]" if self.sheet is not None else "")

    def numbered(self) -> list[tuple[int, str]]:
        """Line numbers and lines."""
        numbers = self.numbers or range(1, len(self.lines) + 1)
        return list(zip(numbers, self.lines, strict=True))

    def part(self, lines: list[tuple[int, str]], separator: str | None = None) -> Source:
        """Some lines, or others made of them, with their numbers in the file."""
        return replace(
            self,
            lines=tuple(text for _, text in lines),
            numbers=tuple(n for n, _ in lines),
            separator=separator or self.separator,
        )


@dataclass(frozen=True)
class Document:
    """A file: the hash of its bytes and its parts, one for a text file, one a sheet for a workbook."""

    path: Path
    sha256: str
    parts: tuple[Source, ...]

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name


class AbortedError(ReadError):
    """A file of a run that was aborted before its first read; among other files it is skipped."""


def load(path: str | Path) -> Document:
    """Open a text file (also gzip-compressed) or a workbook (.xlsx, .xls).

    Raises
    ------
    ReadError
        No such file, a folder, an empty, broken or binary file, or one larger than 512 MiB.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise ReadError("there is no such file; check the path", file=str(path))
        if path.is_dir():
            raise ReadError("this is a folder; give the files in it", file=str(path))
        if path.stat().st_size > LARGEST:
            raise ReadError(f"the file is larger than {LARGEST // 2**20} MiB; split it by device", file=path.name)
        data = path.read_bytes()
    except OSError as error:
        raise ReadError(f"the file cannot be opened: {error.strerror}", file=str(path)) from None
    except ValueError:
        raise ReadError("this is no path of a file", file=repr(str(path))) from None
    digest = hashlib.sha256(data).hexdigest()
    if data.startswith(b"\x1f\x8b"):
        data = _unzipped(data, path)
    if data.startswith(b"PK\x03\x04") and b"[Content_Types].xml" not in data:
        raise ReadError("this is an archive, no workbook; unpack it and give the files in it", file=path.name)
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        from .workbook import sheets

        return Document(path, digest, sheets(data, path, digest))
    if data.startswith(SIGNATURE):
        return Document(path, digest, (Source(path, digest, histories(data, path), HISTORY, separator=","),))
    if not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.rstrip(b"\x00") if _wide(data) is None else data
    if not data.strip():
        raise AbortedError("the file is empty", file=path.name)
    text, encoding = _decode(data, path.name)
    if (kind := _no_table(text)) is not None:
        raise ReadError(f"this is {kind}, not a table; save the reads as CSV", file=path.name)
    lines = tuple(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    return Document(path, digest, (Source(path, digest, lines, encoding),))


def _no_table(text: str) -> str | None:
    """What a text is instead of a table."""
    start = text.lstrip()[:200].lower()
    if start.startswith(("<!doctype html", "<html", "<table")):
        return "a web page (HTML)"
    if start.startswith("<?xml"):
        return "XML"
    if re.match(r"\{\s*\"|\[\s*[\[{]", start):
        return "JSON"
    return None


def _unzipped(data: bytes, path: Path) -> bytes:
    try:
        out = zlib.decompressobj(wbits=31).decompress(data, LARGEST + 1)
        if len(out) <= LARGEST:
            out = gzip.decompress(data)  # all members, and the check sums
    except (OSError, EOFError, zlib.error) as error:
        raise ReadError(f"the compressed file is damaged ({error}); copy it again", file=path.name) from None
    if len(out) > LARGEST:
        raise ReadError(f"the file holds more than {LARGEST // 2**20} MiB; split it by device", file=path.name)
    return out


def _decode(data: bytes, name: str) -> tuple[str, str]:
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError:
                raise ReadError(f"the file starts as {encoding} but is not; save it as UTF-8 text", file=name) from None
    if (wide := _wide(data)) is not None:
        return data.decode(wide, errors="replace"), wide
    if b"\x00" in data[:4096] or data.startswith((b"\x89PNG", b"%PDF")):
        raise ReadError("this is a binary file, not a table of text; export the sheet or the run as CSV", file=name)
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        encoding = _national(data)
        return data.decode(encoding, errors="replace"), encoding


def _wide(data: bytes) -> str | None:
    """UTF-16 without its mark: every other byte of the first lines is 0."""
    first = data[:4096]
    for zeros, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(first) > 20 and first[zeros::2].count(0) > 0.9 * len(first[zeros::2]) and not first[1 - zeros :: 2].count(0):
            return encoding
    return None


_TRADE = {"gbk": frozenset("电压流阻导测量时间脉冲序号值器件温度"), "euc_kr": frozenset("전압류저항도측정시간펄스번호값소자온셀")}
"""Characters of the trade: the same bytes are words in one language and rubbish in the other."""


def _national(data: bytes) -> str:
    """Encoding of text that is not UTF-8: of Western Windows unless bytes above 127 come as the pairs of East Asian text."""
    runs = re.findall(rb"[\x80-\xff]+", data[:200_000])
    if sum(len(run) for run in runs if len(run) > 1) * 2 < sum(map(len, runs)):
        # Shift-JIS has pairs whose second byte is below 128: it shows by first bytes that Western text does not use
        pairs = re.findall(rb"[\x81-\x9f][\x40-\x7e\x80-\xfc]", data[:200_000])
        if len(pairs) * 2 <= len(runs) or not _decodes(data, "cp932"):
            return "cp1252"
        return "cp932"
    in_national_block = all(byte >= 0xA1 for run in runs for byte in run) and all(len(run) % 2 == 0 for run in runs)
    if in_national_block:
        found = {encoding: len(words & set(data.decode(encoding, "replace"))) for encoding, words in _TRADE.items()}
        order = sorted(_TRADE, key=lambda encoding: -found[encoding])
    else:
        order = ["cp932", "gbk", "euc_kr"]
    return next((encoding for encoding in order if _decodes(data, encoding)), "cp1252")


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
