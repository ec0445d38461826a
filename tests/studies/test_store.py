"""The store: layout, commits, growth, and a writer that is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from studies.dataset import open_study
from studies.design import Factor, Point
from studies.errors import StudyError
from studies.folder import Folder
from studies.prepare import open_folder, prepare
from studies.records import DONE, FAILED, Outcome, Pair
from studies.report import report
from studies.run import anything_left
from studies.store import Store
from studies.targets import targets

FACTORS = [
    Factor("x", "set", ("x",), (1.0, 2.0), "log", label="the x"),
    Factor("kind", "set", ("kind",), ("a", "b"), "linear"),
]


def point(n: int, **more) -> Point:
    return Point(f"{n:016x}", {"x": float(n), "kind": "ab"[n % 2]}, **more)


def outcome(n: int, replicate: int, value: float, status: int = DONE) -> Outcome:
    pair = Pair(f"{n:016x}", replicate, False, {}, {"simulator": 2**63 - 1 - n})
    return Outcome(pair, status, {"accuracy": value} if status == DONE else {}, wall_time=0.5)


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "r.zarr", FACTORS, ["accuracy"], 3, {"study_digest": "d"})


def test_what_is_committed_is_read_again(store):
    store.add_points([Point("f" * 16, {}, digital=True), point(1), point(2, stage=1)])
    store.commit([outcome(1, 0, 0.25), outcome(2, 2, 0.75), outcome(1, 1, 0.0, FAILED)], "1.0")
    again = Store(store.path)
    assert list(again.rows) == ["f" * 16, f"{1:016x}", f"{2:016x}"]
    np.testing.assert_array_equal(again.columns["status"], [[0, 0, 0], [1, 2, 0], [0, 0, 1]])
    np.testing.assert_array_equal(again.columns["accuracy"][1], [0.25, np.nan, np.nan])
    np.testing.assert_array_equal(again.columns["x"], [np.nan, 1, 2])
    assert [str(v) for v in again.columns["kind"]] == ["", "b", "a"]
    assert again.columns["baseline"].tolist() == [1, 0, 0]
    assert again.columns["stage"].tolist() == [0, 0, 1]
    assert int(again.columns["seed"][1, 0]) == 2**63 - 2
    assert again.counts() == {"missing": 6, "done": 2, "failed": 1, "timeout": 0, "skipped": 0}
    assert again.attributes["code_versions"] == ["1.0"]
    assert again.median_time() == 0.5


def test_store_opens_in_xarray_with_dimensions_and_flags(store):
    import xarray as xr

    store.add_points([point(1)])
    data = xr.open_zarr(store.path, consolidated=False).load()
    assert data["accuracy"].dims == ("point", "replicate")
    assert data["status"].attrs["flag_meanings"] == "missing done failed timeout skipped"
    assert data["x"].attrs["long_name"] == "the x"
    assert data.attrs["layout"] == "studies.store/1"


def test_points_are_added_once_and_replicates_grow(store):
    store.add_points([point(1)])
    store.add_points([point(1), point(2)])
    store.commit([outcome(1, 0, 0.5)], "1")
    store.widen(5)
    store.commit([outcome(2, 4, 0.1)], "2")
    again = Store(store.path)
    assert again.replicates == 5
    assert len(again.rows) == 2
    assert again.columns["status"][0, 0] == DONE
    assert again.columns["status"][1, 4] == DONE
    assert again.columns["code_version"][1, 4] == 1


def test_many_points_over_several_chunks(store):
    store.add_points([point(n) for n in range(600)])
    store.commit([outcome(n, 0, n / 600) for n in range(0, 600, 7)], "1")
    again = Store(store.path)
    done = np.flatnonzero(again.columns["status"][:, 0] == DONE)
    np.testing.assert_array_equal(done, np.arange(0, 600, 7))
    np.testing.assert_array_equal(again.columns["accuracy"][done, 0], done / 600)


def test_half_added_points_do_not_count(store):
    import zarr

    store.add_points([point(1)])
    group = zarr.open_group(store=str(store.path), mode="r+")
    # As after a kill: everything resized, the identities not yet written.
    for name in store.columns:
        group[name].resize((3, *store.columns[name].shape[1:]))
    again = Store(store.path, writable=True)
    assert len(again.rows) == 1
    again.add_points([point(2), point(3), point(4)])
    again.commit([outcome(4, 1, 0.5)], "1")
    assert list(Store(store.path).rows) == [f"{n:016x}" for n in (1, 2, 3, 4)]
    assert Store(store.path).columns["x"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("chunks", [(256, 16), (2, 2)])
def test_store_with_other_chunks_opens_and_goes_on(tmp_path, store, chunks, monkeypatch):
    """As older versions wrote them."""
    import studies.store

    make = studies.store._array
    monkeypatch.setattr(studies.store, "_array", lambda g, name, dtype, r, _, about: make(g, name, dtype, r, chunks, about))
    old = Store.create(tmp_path / "old.zarr", FACTORS, ["accuracy"], 3, {"study_digest": "d"})
    monkeypatch.undo()
    for each in (store, old):
        each.add_points([point(n) for n in range(5)])
        each.commit([outcome(n, 1, n / 5) for n in range(5)], "1")
        each.widen(4)
    again = Store(old.path, writable=True)
    for each in (store, again):
        each.add_points([point(7)])
        each.take([outcome(7, 3, 0.7), outcome(0, 0, 0.1)], "2")
        assert each.dirty
        each.flush()
        assert not each.dirty
    for name, column in Store(old.path).columns.items():
        if name != "finished_at":
            np.testing.assert_array_equal(column, Store(store.path).columns[name], err_msg=name)


def test_flush_that_fails_forgets_nothing(store, monkeypatch):
    store.add_points([point(n) for n in range(3)])
    store.take([outcome(1, 0, 0.5)], "1")
    with monkeypatch.context() as patch:
        patch.setattr("zarr.Array.__setitem__", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            store.flush()
    assert store.dirty
    assert Store(store.path).counts()["done"] == 0
    store.flush()
    assert Store(store.path).counts()["done"] == 1


def test_other_layouts_and_other_folders_are_refused(tmp_path, store):
    import zarr

    with pytest.raises(StudyError, match="no results are stored here"):
        Store(tmp_path)
    zarr.open_group(store=str(store.path), mode="r+").attrs["layout"] = "studies.store/0"
    with pytest.raises(StudyError, match="open it with the version that wrote it"):
        Store(store.path)
    zarr.open_group(store=str(store.path), mode="r+").attrs["layout"] = "studies.store/2"
    with pytest.raises(StudyError, match=r"it is of a newer fitlab .*; update fitlab"):
        Store(store.path)


@pytest.fixture
def old(tmp_path):
    """The folder of a study that fitlab 0.1.0 made."""
    with zipfile.ZipFile(Path(__file__).with_name("study_of_0.1.zip")) as archive:
        archive.extractall(tmp_path / "old.study")
    return tmp_path / "old.study"


def test_old_study_is_read_and_can_go_on(old):
    data = open_study(old)
    assert dict(data.sizes) == {"device.dw_min_std": 4, "forward.out_res": 3, "replicate": 2}
    assert (data["status"] == DONE).all()
    assert float(data["accuracy"].mean()) == pytest.approx(0.1663518052057095)
    assert float(data["baseline_accuracy"].mean()) == pytest.approx(0.2040302267002519)
    assert [row.device for row in targets(data)] == [pytest.approx(0.37940309)] * 3
    page = report(Folder(old))
    assert "Read noise against ADC resolution" in page
    resolved, folder = open_folder(old)
    assert not anything_left(resolved, folder)
    more, folder = prepare(old / "study.toml", old, ["replicates.count=3"], inputs=old / "inputs")
    assert anything_left(more, folder)
    store = Store(folder.results, writable=True)
    store.widen(3)
    assert store.counts()["missing"] == 13


def test_setting_that_a_device_has_got_since_then_is_as_if_there_were_none(old, monkeypatch):
    """A study of before goes on where the new setting has its usual value, and is refused where it has another."""
    from sim.devices import SoftBoundsReferenceDevice

    own = SoftBoundsReferenceDevice.to_dict
    monkeypatch.setattr(SoftBoundsReferenceDevice, "to_dict", lambda self: own(self) | {"fresh": 0.0})
    open_folder(old)
    monkeypatch.setattr(SoftBoundsReferenceDevice, "to_dict", lambda self: own(self) | {"fresh": self.dw_min})
    with pytest.raises(StudyError, match=r"base\.device\.fresh was None, is 0\.02"):
        open_folder(old)


def test_old_study_of_another_schema_says_what_to_do(old):
    text = (old / "study.toml").read_text()
    for schema, words in (
        ("studies.study/2", "newer fitlab than this one; update fitlab"),
        ("studies.study/0", "is not known; write"),
    ):
        (old / "study.toml").write_text(text.replace("studies.study/1", schema))
        with pytest.raises(StudyError, match=words):
            open_study(old)


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_store import outcome, point
from studies.store import Store
store = Store(Path({path!r}), writable=True)
print("ready", flush=True)
for n in range(100000):
    if f"{{n:016x}}" in store.rows and (store.status()[f"{{n:016x}}"] == 1).all():
        continue
    store.add_points([point(n)])
    store.commit([outcome(n, r, n + r / 10) for r in range(3)], "1")
"""


def test_killed_writer_leaves_whole_results_and_no_litter(store):
    here = str(Path(__file__).parent)
    root = str(Path(__file__).parents[2])
    chance = random.Random(3)
    last = 0
    for _ in range(4):
        code = WRITER.format(here=here, path=str(store.path))
        environment = os.environ | {"PYTHONPATH": root}
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.1 + 0.3 * chance.random())
            writer.send_signal(signal.SIGKILL)
        found = Store(store.path)
        count = len(found.rows)
        assert count > last, "the writer wrote nothing"
        assert list(found.rows) == [f"{n:016x}" for n in range(count)]
        rows, columns = np.nonzero(found.columns["status"] == DONE)
        np.testing.assert_array_equal(found.columns["accuracy"][rows, columns], rows + columns / 10)
        np.testing.assert_array_equal(found.columns["seed"][rows, columns], np.uint64(2**63 - 1) - rows.astype(np.uint64))
        # All but the point at work are complete.
        assert (found.columns["status"][: count - 1] == DONE).all()
        last = count
    Store(store.path, writable=True)
    assert not [p for p in store.path.rglob("*") if p.name.endswith(".partial")]
