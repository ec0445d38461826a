"""Parts of a study that know nothing of each other, joined."""

from __future__ import annotations

import numpy as np
import pytest
from test_cli import call
from test_run import same

from studies.dataset import open_study
from studies.errors import StudyError
from studies.folder import Folder
from studies.plan import share_of, what_next
from studies.prepare import prepare
from studies.run import run_study
from studies.shards import merge_folders, part_of


def test_parts_cover_everything_once(study_file):
    from studies.design import load_study

    study = load_study(study_file())
    units = what_next(study.points(), study.replicates, {})
    shares = [share_of(units, (i, 4)) for i in range(1, 5)]
    assert sorted((p.id, r) for share in shares for p, r in share) == sorted((p.id, r) for p, r in units)


def test_shards_joined_equal_the_whole(study_file, tmp_path, client):
    path = study_file()
    resolved, whole = prepare(path, tmp_path / "whole")
    run_study(resolved, whole, client, quiet=True)
    address = client.scheduler.address
    for i in (1, 2):
        result = call("run", path, "-o", tmp_path / "part", "--shard", f"{i}/2", "--scheduler", address, "--quiet")
        assert result.exit_code == 0, result.output
    parts = sorted(tmp_path.glob("part.shard-*"))
    assert [Folder(p).part() for p in parts] == [(1, 2), (2, 2)]
    half = open_study(parts[0])
    assert 0 < int((half["status"] == 1).sum()) < half["status"].size
    result = call("merge", tmp_path / "joined", *parts)
    assert result.exit_code == 0, result.output
    assert "27 done" in result.output
    same(open_study(whole.path), open_study(tmp_path / "joined"))
    # Again changes nothing; a part goes on only with its own share.
    assert merge_folders(tmp_path / "joined", parts)["done"] == 27
    assert "Nothing left to run" in call("resume", parts[0]).output


def test_parts_that_do_not_belong_together_are_refused(study_file, tmp_path, client):
    resolved, first = prepare(study_file(), tmp_path / "a")
    run_study(resolved, first, client, quiet=True)
    resolved, second = prepare(study_file(None, ("count = 3", "count = 3\nseed = 7")), tmp_path / "b")
    run_study(resolved, second, client, quiet=True)
    with pytest.raises(StudyError, match=r"base\.seed"):
        merge_folders(tmp_path / "j", [first.path, second.path])
    resolved, third = prepare(study_file(), tmp_path / "c")
    run_study(resolved, third, client, quiet=True)
    import zarr

    array = zarr.open_group(str(third.results), mode="r+")["accuracy"]
    array[1] = np.asarray(array[1]) + 0.5
    with pytest.raises(StudyError, match="has different results"):
        merge_folders(tmp_path / "j", [first.path, third.path])
    assert not (tmp_path / "j").exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b"])
def test_bad_shards_are_refused(text):
    with pytest.raises(StudyError, match="write for example 3/16"):
        part_of(text)


def test_refused_scheduler_leaves_no_folder(study_file, tmp_path):
    result = call("run", study_file(), "-o", tmp_path / "new", "--scheduler", "tcp://127.0.0.1:1")
    assert result.exit_code == 2
    assert not (tmp_path / "new").exists()
