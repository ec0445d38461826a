"""Data sets: the embedded digits, MNIST from files, and files that are not what they should be."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from studies.data import fingerprint, load
from studies.errors import StudyError

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def test_digits_are_the_ones_described():
    digits = load("digits", None)
    assert digits.train_x.shape == (1400, 64)
    assert digits.test_x.shape == (397, 64)
    assert digits.train_x.dtype == np.float32
    assert (digits.train_x.min(), digits.train_x.max()) == (0.0, 1.0)
    assert np.bincount(digits.test_y).tolist() == [43, 39, 51, 33, 48, 37, 41, 30, 32, 43]
    assert fingerprint("digits", None) == "b2dab7b501728c22"


def write_mnist(folder: Path, *, packed: bool = True) -> None:
    rng = np.random.default_rng(0)
    for name in NAMES:
        count = 6 if name.startswith("train") else 4
        if "images" in name:
            content = struct.pack(">4I", 0x803, count, 28, 28) + rng.integers(0, 256, count * 784, np.uint8).tobytes()
        else:
            content = struct.pack(">2I", 0x801, count) + (np.arange(count, dtype=np.uint8) % 10).tobytes()
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def test_mnist_plain_and_packed_are_the_same(tmp_path):
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    for folder in (plain, packed):
        folder.mkdir()
        write_mnist(folder, packed=folder == packed)
    a, b = load("mnist", str(plain)), load("mnist", str(packed))
    assert a.train_x.shape == (6, 784)
    assert a.test_y.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(a.train_x, b.train_x)
    assert fingerprint("mnist", str(plain)) == fingerprint("mnist", str(packed))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / f"{NAMES[1]}.gz").unlink(), "is not there; put the four MNIST files"),
        (lambda f: (f / f"{NAMES[0]}.gz").write_bytes(b"not gzip"), "cannot be unpacked"),
        (lambda f: (f / f"{NAMES[0]}.gz").write_bytes(gzip.compress(b"x" * 100)), "not '00000803'"),
        (
            lambda f: (f / f"{NAMES[0]}.gz").write_bytes(gzip.compress(struct.pack(">4I", 0x803, 6, 28, 28))),
            "header says",
        ),
        (
            lambda f: (f / f"{NAMES[0]}.gz").write_bytes(gzip.compress(struct.pack(">4I", 0x803, 1, 2, 2) + b"abcd")),
            "images are 2 x 2",
        ),
        (
            lambda f: (f / f"{NAMES[1]}.gz").write_bytes(gzip.compress(struct.pack(">2I", 0x801, 2) + b"\0\1")),
            "6 train images but 2 labels",
        ),
        (
            lambda f: (f / f"{NAMES[3]}.gz").write_bytes(gzip.compress(struct.pack(">2I", 0x801, 4) + b"\0\1\2\x0b")),
            "label is 11",
        ),
    ],
)
def test_broken_mnist_names_the_file_and_the_remedy(tmp_path, spoil, words):
    write_mnist(tmp_path)
    spoil(tmp_path)
    with pytest.raises(StudyError) as caught:
        load("mnist", str(tmp_path))
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_missing_folder_is_told():
    with pytest.raises(StudyError, match="no folder given"):
        load("mnist", None)
    with pytest.raises(StudyError, match="is not a folder"):
        load("mnist", "nowhere")


def test_real_mnist():
    shared = Path(os.environ.get("FITLAB_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "mnist"
    if not shared.is_dir():
        pytest.skip("the shared data folder with MNIST is not here; set FITLAB_SHARED")
    mnist = load("mnist", str(shared))
    assert mnist.train_x.shape == (60000, 784)
    assert np.bincount(mnist.test_y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
