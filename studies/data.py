"""Images and labels for the studies: the embedded 8 x 8 digits, or MNIST from a folder of IDX files."""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from studies.errors import StudyError

__all__ = ["Images", "fingerprint", "load"]

_DIGITS_TRAIN = 1400
_MNIST = {
    "train_x": "train-images-idx3-ubyte",
    "train_y": "train-labels-idx1-ubyte",
    "test_x": "t10k-images-idx3-ubyte",
    "test_y": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True)
class Images:
    """A data set, split.

    Parameters
    ----------
    train_x, test_x : ndarray, (samples, pixels), float32, 0 to 1
    train_y, test_y : ndarray, (samples,), int64
    classes : int
    """

    train_x: np.ndarray[Any, Any]
    train_y: np.ndarray[Any, Any]
    test_x: np.ndarray[Any, Any]
    test_y: np.ndarray[Any, Any]
    classes: int


def load(name: str, folder: str | None) -> Images:
    """Load a data set.

    Parameters
    ----------
    name : str
        ``digits`` (embedded) or ``mnist`` (four IDX files, plain or .gz, in ``folder``).
    folder : str or None

    Raises
    ------
    StudyError
        When files are missing or are not what they should be; names the file and the remedy.
    """
    return _digits() if name == "digits" else _mnist(folder)


def fingerprint(name: str, folder: str | None) -> str:
    """Digest of the content of a data set's files.

    Raises
    ------
    StudyError
        When files are missing.
    """
    total = hashlib.sha256()
    if name == "digits":
        total.update(_digits_file().read_bytes())
    else:
        for stem in _MNIST.values():
            # Of the unpacked content: packed files of the same data differ.
            total.update(_read(_find(folder, stem)))
    return total.hexdigest()[:16]


def _digits_file() -> Any:
    return resources.files("studies") / "digits" / "digits.npz"


def _digits() -> Images:
    with _digits_file().open("rb") as file, np.load(file) as stored:
        images, labels = stored["images"], stored["labels"]
    order = np.random.default_rng(0).permutation(len(labels))
    x = images.reshape(len(labels), -1)[order].astype(np.float32) / np.float32(16)
    y = labels[order].astype(np.int64)
    return Images(x[:_DIGITS_TRAIN], y[:_DIGITS_TRAIN], x[_DIGITS_TRAIN:], y[_DIGITS_TRAIN:], 10)


def _mnist(folder: str | None) -> Images:
    parts = {}
    for key, stem in _MNIST.items():
        path = _find(folder, stem)
        parts[key] = _idx(path, dimensions=3 if key.endswith("x") else 1)
    for part in ("train", "test"):
        x, y = parts[f"{part}_x"], parts[f"{part}_y"]
        if len(x) != len(y):
            raise StudyError(f"{folder}: {len(x)} {part} images but {len(y)} labels; are the files of one set?")
        if y.max(initial=0) > 9:
            raise StudyError(f"{folder}: a {part} label is {int(y.max())}; labels are 0 to 9")
    pixels = {k: parts[k].reshape(len(parts[k]), -1).astype(np.float32) / np.float32(255) for k in ("train_x", "test_x")}
    labels = {k: parts[k].astype(np.int64) for k in ("train_y", "test_y")}
    return Images(pixels["train_x"], labels["train_y"], pixels["test_x"], labels["test_y"], 10)


def _find(folder: str | None, stem: str) -> Path:
    if folder is None:
        raise StudyError(f"no folder given; MNIST needs a folder with {stem}[.gz] and its three companions")
    if not Path(folder).is_dir():
        raise StudyError(f"{folder}: is not a folder; give the one that holds {stem}[.gz]")
    for name in (stem, f"{stem}.gz"):
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise StudyError(f"{folder}: {stem} or {stem}.gz is not there; put the four MNIST files into this folder")


def _read(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise StudyError(f"{path}: cannot be unpacked ({error}); fetch the file again") from None


def _idx(path: Path, dimensions: int) -> np.ndarray[Any, Any]:
    """An IDX file of unsigned bytes: magic 0x0000 08 <dimensions>, sizes (big endian, 32 bit), values."""
    content = _read(path)
    head = 4 + 4 * dimensions
    if len(content) < head or content[:4] != bytes((0, 0, 8, dimensions)):
        raise StudyError(
            f"{path}: begins with {content[:4].hex()!r}, not {bytes((0, 0, 8, dimensions)).hex()!r}; "
            f"wanted is an IDX file of bytes in {dimensions} dimension{'s' if dimensions > 1 else ''}"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:head])
    wanted = int(np.prod(shape, dtype=np.int64))
    if len(content) - head != wanted:
        raise StudyError(f"{path}: holds {len(content) - head} values, its header says {wanted}; fetch the file again")
    if dimensions == 3 and shape[1:] != (28, 28):
        raise StudyError(f"{path}: images are {shape[1]} x {shape[2]} pixels; MNIST images are 28 x 28")
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
