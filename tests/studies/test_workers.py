"""Workers kept at a scheduler, one a processor or a GPU; no GPU is needed."""

from __future__ import annotations

import threading

import pytest
from conftest import SMOOTH

from studies.cluster import connect, processors
from studies.dataset import open_study
from studies.errors import StudyError
from studies.prepare import prepare
from studies.run import run_study
from studies.train import classify
from studies.workers import keep_workers, slots, visible_gpus

ON_A_GPU = SMOOTH.replace(":smooth", ":which_gpu") + '\n[run]\ndevice = "cuda"\ngroup = 1\n'


def test_slots_are_processors_or_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert visible_gpus() == ["3", "5"]
    assert [s.gpu for s in slots(None, gpus="all")] == ["3", "5"]
    assert [s.gpu for s in slots(1, gpus="all")] == ["3"]
    assert [s.gpu for s in slots(None, gpus="0,1,2")] == ["0", "1", "2"]
    assert len(slots(None)) == processors()
    assert len(slots(None, threads=2 * processors())) == 1
    (slot,) = slots(1, threads=4, gpus="7")
    assert slot.environment()["CUDA_VISIBLE_DEVICES"] == "7"
    assert slot.environment()["OMP_NUM_THREADS"] == "4"
    command = slot.command("tcp://10.0.0.1:8786", ["--host", "10.0.0.2"])
    assert command[3:6] == ["tcp://10.0.0.1:8786", "--nthreads", "1"]
    assert command[-4:] == ["--resources", "GPU=1", "--host", "10.0.0.2"]
    assert "CUDA_VISIBLE_DEVICES" not in slots(1)[0].environment()


@pytest.mark.parametrize(
    ("visible", "count", "gpus", "words"),
    [
        ("", None, "all", "no GPU is visible here"),
        ("-1", None, "all", "no GPU is visible here"),
        ("0,1", 3, "all", r"3 workers for 2 GPUs \(0, 1\)"),
        ("0", None, "1,1", "names a device twice"),
    ],
)
def test_gpus_that_are_not_there_are_refused(monkeypatch, visible, count, gpus, words):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(StudyError, match=words):
        slots(count, gpus=gpus)


def test_each_local_worker_sees_one_gpu(study_file, tmp_path, monkeypatch, client):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    resolved, folder = prepare(study_file(ON_A_GPU), tmp_path / "a")
    with pytest.raises(StudyError, match="no worker of this cluster has a GPU"):
        run_study(resolved, folder, client, quiet=True)
    with connect(gpus="all") as remote:
        assert run_study(resolved, folder, remote, quiet=True).outcome == "done"
    data = open_study(folder.path)
    assert set(data["accuracy"].values.ravel()) == {0.3, 0.5}


def test_results_of_processor_and_gpu_are_not_mixed(study_file, tmp_path):
    prepare(study_file(ON_A_GPU), tmp_path / "a")
    with pytest.raises(StudyError, match=r"base\.computed_on was 'cuda', is None"):
        prepare(study_file(ON_A_GPU, ('device = "cuda"', 'device = "cpu"')), tmp_path / "a")


def test_network_without_a_gpu_says_so(study_file, tmp_path, monkeypatch):
    text = SMOOTH.replace('task = "study_tasks:smooth"', 'device = "EcRamPresetDevice"\ntrain = { epochs = 1 }')
    text = text.replace("noise = { values = [0.5, 1, 2, 4] }", 'noise = { fields = ["device.dw_min"], multiply = [1, 2] }')
    text = text.replace("other = { values = [0.0, 0.5] }\n", "") + '\n[run]\ndevice = "cuda"\n'
    resolved, _ = prepare(study_file(text), tmp_path / "a")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    from studies.task import Control

    with pytest.raises(StudyError, match="this worker sees 0 GPUs instead of one"):
        classify(resolved.job([(resolved.study.points()[1], 0)]), Control())


def test_worker_that_ends_is_started_again(client):
    (slot,) = slots(1)
    stop = threading.Event()
    keeper = threading.Thread(target=keep_workers, args=(client.scheduler.address, [slot], ["--no-nanny"], stop))
    keeper.start()
    try:
        client.wait_for_workers(3, timeout=60)
        first = slot.process
        assert first is not None
        first.kill()
        first.wait()
        for _ in range(600):
            if slot.process is not first and len(client.nthreads()) == 3:
                break
            threading.Event().wait(0.1)
        assert slot.process is not first
        assert len(client.nthreads()) == 3
    finally:
        stop.set()
        keeper.join(30)
    assert not keeper.is_alive()
    assert slot.process.poll() is not None
