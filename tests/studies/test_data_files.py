"""CIFAR-10, arrays and downloads: what is read, and what is refused."""

from __future__ import annotations

import hashlib
import os
import pickle

import numpy as np
import pytest
from test_cli import call

import studies.fetch
from studies.data import fingerprint, load
from studies.errors import StudyError
from studies.fetch import fetch


def write_cifar(folder) -> None:
    rng = np.random.default_rng(0)
    for stem in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        batch = {b"data": rng.integers(0, 256, (4, 3072), np.uint8), b"labels": [0, 1, 2, 9]}
        (folder / stem).write_bytes(pickle.dumps(batch, protocol=2))


def test_cifar_is_read_and_nothing_else_is_run(tmp_path):
    write_cifar(tmp_path)
    images = load("cifar10", str(tmp_path))
    assert images.train_x.shape == (20, 3072)
    assert images.test_y.tolist() == [0, 1, 2, 9]
    assert images.shape == (3, 32, 32)
    before = fingerprint("cifar10", str(tmp_path))
    (tmp_path / "test_batch").write_bytes(pickle.dumps({b"data": os.getcwd}))
    assert fingerprint("cifar10", str(tmp_path)) != before
    with pytest.raises(StudyError, match=r"test_batch: is not a batch of CIFAR-10 \(asks for posix.getcwd"):
        load("cifar10", str(tmp_path))
    (tmp_path / "data_batch_3").unlink()
    with pytest.raises(StudyError, match="data_batch_3 is not there"):
        load("cifar10", str(tmp_path))


def test_arrays_of_ones_own(tmp_path):
    path = tmp_path / "own.npz"
    x, y = np.full((6, 8, 8), 255, np.uint8), np.arange(6)
    np.savez(path, train_x=x, train_y=y, test_x=x[:2], test_y=y[:2])
    images = load("mnist", str(path))
    assert images.train_x.shape == (6, 64)
    assert images.train_x.max() == 1.0
    assert (images.classes, images.shape) == (6, (1, 8, 8))
    np.savez(path, train_x=x, train_y=y[:3], test_x=x[:2], test_y=y[:2])
    with pytest.raises(StudyError, match="train_y must have one label"):
        load("mnist", str(path))
    np.savez(path, train_x=x)
    with pytest.raises(StudyError, match="must hold train_x"):
        load("mnist", str(path))


def test_download_is_checked_and_damaged_files_are_not_kept(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "a.gz").write_bytes(b"content")
    sums = {"a.gz": hashlib.md5(b"content").hexdigest()}
    monkeypatch.setitem(studies.fetch.SOURCES, "mnist", (f"{source.as_uri()}/", sums))
    assert fetch("mnist", target) == [target / "a.gz"]
    assert fetch("mnist", target) == []
    (target / "a.gz").unlink()
    (source / "a.gz").write_bytes(b"damaged")
    with pytest.raises(StudyError, match="damaged or another file"):
        fetch("mnist", target)
    assert list(target.iterdir()) == []
    (source / "a.gz").unlink()
    with pytest.raises(StudyError, match="cannot be fetched"):
        fetch("mnist", target)
    with pytest.raises(StudyError, match="write mnist, fashion, cifar10"):
        fetch("imagenet", target)


def test_plan_estimates_from_a_calibration_run(study_file):
    result = call("plan", study_file(), "--measure", "--workers", "2", "--set", "replicates.count=4")
    assert result.exit_code == 0, result.output
    assert "x 4 replicates = 36 runs" in result.output
    assert "on 2 workers: 2 tasks of up to 18 runs" in result.output
    assert "MB a worker" in result.output
