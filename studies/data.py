"""Images and text for the studies: the embedded 8 x 8 digits; MNIST, Fashion-MNIST and CIFAR-10 from files; a text file."""

from __future__ import annotations

import gzip
import hashlib
import math
import pickle
import struct
import zipfile
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
        For text: (samples, T), int64, tokens.
    train_y, test_y : ndarray, (samples,), int64
        For text: (samples, T), the token after each.
    classes : int
        For text: the number of different characters.
    shape : tuple of int
        Channels, height, width of an image; empty for text.
    """

    train_x: np.ndarray[Any, Any]
    train_y: np.ndarray[Any, Any]
    test_x: np.ndarray[Any, Any]
    test_y: np.ndarray[Any, Any]
    classes: int
    shape: tuple[int, ...] = ()


def load(name: str, folder: str | None, context: int | None = None) -> Images:
    """Load a data set.

    Parameters
    ----------
    name : str
        ``digits`` (embedded); ``mnist`` or ``fashion`` (four IDX files, plain or .gz, in ``folder``); ``cifar10`` (the six
        files of its Python version in ``folder``); ``text`` (``folder`` is the file). Images may also be one .npz file with
        train_x, train_y, test_x, test_y.
    folder : str or None
    context : int, optional
        For text: characters that the network sees at once.

    Raises
    ------
    StudyError
        When files are missing or are not what they should be; names the file and the remedy.
    """
    if name == "digits":
        return _digits()
    if name == "text":
        return _text(folder, context or 32)
    if folder is not None and folder.endswith(".npz"):
        return _npz(folder)
    return _cifar10(folder) if name == "cifar10" else _mnist(folder)


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
    elif name == "text" or (folder is not None and folder.endswith(".npz")):
        total.update(_file(folder).read_bytes())
    elif name == "cifar10":
        for stem in (*_CIFAR_TRAIN, _CIFAR_TEST):
            total.update(_cifar_file(folder, stem).read_bytes())
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
    return Images(x[:_DIGITS_TRAIN], y[:_DIGITS_TRAIN], x[_DIGITS_TRAIN:], y[_DIGITS_TRAIN:], 10, (1, 8, 8))


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
    return Images(pixels["train_x"], labels["train_y"], pixels["test_x"], labels["test_y"], 10, (1, 28, 28))


def _file(path: str | None) -> Path:
    if path is None:
        raise StudyError("no file given; write data = with the path of a file")
    if not Path(path).is_file():
        raise StudyError(f"{path}: is not a file; write data = with the path of a file")
    return Path(path)


def _text(path: str | None, context: int) -> Images:
    """Characters as tokens, cut into pieces without overlap; the last tenth is the test."""
    try:
        text = _file(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it first") from None
    letters = sorted(set(text))
    if len(letters) < 2 or len(text) < 20 * (context + 1):
        raise StudyError(f"{path}: holds {len(text)} characters; a context of {context} needs {20 * (context + 1)} or more")
    place = {letter: number for number, letter in enumerate(letters)}
    tokens = np.array([place[letter] for letter in text], dtype=np.int64)
    count = (len(tokens) - 1) // context
    x, y = tokens[: count * context].reshape(count, context), tokens[1 : count * context + 1].reshape(count, context)
    cut = count - max(1, count // 10)
    return Images(x[:cut], y[:cut], x[cut:], y[cut:], len(letters))


def _npz(path: str) -> Images:
    """Images as (samples, pixels), (samples, height, width) or (samples, channels, height, width), labels from 0."""
    try:
        with np.load(_file(path), allow_pickle=False) as stored:
            parts = {key: stored[key] for key in ("train_x", "train_y", "test_x", "test_y")}
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise StudyError(f"{path}: cannot be used ({error}); it must hold train_x, train_y, test_x, test_y") from None
    size = parts["train_x"].shape[1:]
    if not size or parts["test_x"].shape[1:] != size:
        raise StudyError(f"{path}: train_x and test_x must hold samples of one size (given: {size})")
    for key in ("train", "test"):
        if parts[f"{key}_y"].shape != (len(parts[f"{key}_x"]),):
            raise StudyError(f"{path}: {key}_y must have one label for each of {len(parts[f'{key}_x'])} samples")
    side = math.isqrt(size[0]) if len(size) == 1 else 0
    shape = size if len(size) == 3 else (1, *size) if len(size) == 2 else (1, side, side) if side**2 == size[0] else ()
    scale = 255 if parts["train_x"].dtype == np.uint8 else 1
    x = {k: parts[k].reshape(len(parts[k]), -1).astype(np.float32) / np.float32(scale) for k in ("train_x", "test_x")}
    y = {k: parts[k].astype(np.int64) for k in ("train_y", "test_y")}
    if min(v.min(initial=0) for v in y.values()) < 0:
        raise StudyError(f"{path}: a label is negative; labels start from 0")
    return Images(x["train_x"], y["train_y"], x["test_x"], y["test_y"], int(max(v.max() for v in y.values())) + 1, shape)


_CIFAR_TRAIN, _CIFAR_TEST = tuple(f"data_batch_{n}" for n in range(1, 6)), "test_batch"


class _OnlyArrays(pickle.Unpickler):
    """Unpickles arrays, lists and texts; a file that asks for anything else to be run is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.removeprefix("numpy."), name) in {
            ("core.multiarray", "_reconstruct"), ("_core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"),
        } or (module, name) == ("_codecs", "encode"):  # fmt: skip
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"asks for {module}.{name}")


def _cifar_file(folder: str | None, stem: str) -> Path:
    if folder is None or not Path(folder).is_dir():
        raise StudyError(f"{folder or 'no folder'}: CIFAR-10 needs the folder of its Python version, which holds {stem}")
    for place in (Path(folder), Path(folder) / "cifar-10-batches-py"):
        if (place / stem).is_file():
            return place / stem
    raise StudyError(f"{folder}: {stem} is not there; unpack cifar-10-python.tar.gz into this folder")


def _cifar10(folder: str | None) -> Images:
    def batch(stem: str) -> tuple[Any, Any]:
        path = _cifar_file(folder, stem)
        try:
            with path.open("rb") as file:
                found = _OnlyArrays(file, encoding="bytes").load()
            x, y = np.asarray(found[b"data"]), np.asarray(found[b"labels"], dtype=np.int64)
        except (pickle.UnpicklingError, KeyError, TypeError, EOFError, AttributeError, ImportError, IndexError) as error:
            raise StudyError(f"{path}: is not a batch of CIFAR-10 ({error}); fetch it again") from None
        if x.shape != (len(y), 3072) or y.min(initial=0) < 0 or y.max(initial=0) > 9:
            raise StudyError(f"{path}: images {x.shape} and labels {y.shape} are not those of CIFAR-10; fetch it again")
        return x.astype(np.float32) / np.float32(255), y

    train = [batch(stem) for stem in _CIFAR_TRAIN]
    x, y = (np.concatenate(part) for part in zip(*train, strict=True))
    return Images(x, y, *batch(_CIFAR_TEST), 10, (3, 32, 32))


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
