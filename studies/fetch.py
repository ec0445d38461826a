"""Data sets from their usual places, on request only, checked before they are put where a study looks."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from studies.errors import StudyError

__all__ = ["fetch"]

_IDX = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
# Address and MD5 of each file; the sums are those that the data sets' own pages and torchvision give.
SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        dict(zip(_IDX, (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c",
        ), strict=True)),
    ),
    "fashion": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        dict(zip(_IDX, (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310",
        ), strict=True)),
    ),
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"},
    ),
}  # fmt: skip


def fetch(name: str, folder: str | Path) -> list[Path]:
    """Download a data set into a folder, which is made if needed; files that are there already are left.

    Returns
    -------
    list of Path
        The files that a study reads.

    Raises
    ------
    StudyError
        For another name, a download that fails, or content that is not what it should be; nothing of it is kept.
    """
    if name not in SOURCES:
        raise StudyError(f"{name!r} is not a data set that can be fetched; write {', '.join(SOURCES)}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    address, files = SOURCES[name]
    written = []
    for file, wanted in files.items():
        if file.endswith(".tar.gz"):
            written += _unpack(_download(address + file, wanted), folder)
        elif not (folder / file).exists():
            _write(folder / file, _download(address + file, wanted))
            written.append(folder / file)
    return written


def _download(address: str, wanted: str) -> bytes:
    try:
        with urllib.request.urlopen(address, timeout=60) as answer:
            content: bytes = answer.read()
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        raise StudyError(
            f"{address}: cannot be fetched ({error}); fetch the files by other means and name their folder"
        ) from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != wanted:
        raise StudyError(f"{address}: has the checksum {found}, not {wanted}; it is damaged or another file")
    return content


def _unpack(content: bytes, folder: Path) -> list[Path]:
    written = []
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            name = Path(member.name).name
            if member.isfile() and (name.startswith("data_batch_") or name == "test_batch"):
                inner = archive.extractfile(member)
                assert inner is not None
                _write(folder / name, inner.read())
                written.append(folder / name)
    return written


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)
