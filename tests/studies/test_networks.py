"""Networks of the studies: a replica is bit for bit itself alone; they learn; algorithms are factors."""

from __future__ import annotations

import numpy as np
import pytest

import sim.presets
from sim.configs import FloatingPointRPUConfig, build_config
from studies.configure import configured
from studies.data import Images
from studies.design import load_study
from studies.errors import StudyFileError
from studies.models import network
from studies.resolve import resolve
from studies.task import NETWORKS, TASKS, Control
from studies.train import train_replicas

pytestmark = pytest.mark.usefixtures("one_thread")


def some(name):
    rng = np.random.default_rng(0)
    options = dict(NETWORKS[name][0])
    if "width" in options:
        options["width"] = 4
    if "hidden" in options:
        options["hidden"] = 8
    if name in ("lstm", "transformer"):
        x = rng.integers(0, 7, (20, 8))
        return Images(x[:15], x[:15], x[15:], x[15:], 7), options
    shape = (3, 16, 16) if name == "resnet32" else (1, 28, 28)
    x, y = rng.random((20, int(np.prod(shape))), dtype=np.float32), rng.integers(0, 10, 20)
    return Images(x[:15], y[:15], x[15:], y[15:], 10, shape), options


@pytest.mark.parametrize("analog", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_replica_in_a_group_equals_the_replica_alone(name, analog):
    images, options = some(name)

    def go(seeds):
        config = FloatingPointRPUConfig()
        if analog:
            config = [build_config("sgd", sim.presets.ReRamSBPresetDevice()) for _ in seeds]
        model = network(name, images, config, seeds, options)
        return train_replicas(model, images, [0.05] * len(seeds), seeds, epochs=1, batch=7, control=Control())

    together = go([1, 2, 3])
    assert go([2])[0] == together[1]
    assert len({r["loss"] for r in together}) == 3


@pytest.mark.parametrize(("name", "rate"), [("lstm", 4.0), ("transformer", 0.2)])
def test_networks_for_text_learn_a_rule(name, rate):
    x = np.tile(np.arange(5), 200)
    pieces, after = x[:992].reshape(-1, 8), x[1:993].reshape(-1, 8)
    images = Images(pieces[:100], after[:100], pieces[100:], after[100:], 5)
    model = network(name, images, FloatingPointRPUConfig(), [1], some(name)[1])
    result = train_replicas(model, images, [rate], [1], epochs=10, batch=10, control=Control())
    assert result[0]["accuracy"] > 0.9


def test_tasks_are_data_and_network():
    assert {"digits-mlp", "mnist-mlp3", "mnist-lenet5", "cifar10-resnet32", "cifar10-vgg8", "text-lstm"} <= set(TASKS)


ALGORITHMS = """
schema = "studies.study/1"
name = "x"
[base]
device = "ReRamSBPresetDevice"
[factors]
algorithm = { values = ["sgd", "ttv2", "c-ttv2", "agad", "mp"] }
"device.dw_min" = { multiply = [0.5, 1] }
every = { fields = ["device.transfer_every"], values = [1, 2], when = { algorithm = ["ttv2"] } }
[target]
factor = "device.dw_min"
"""


def test_algorithms_are_a_factor_and_the_device_is_the_same_in_all(study_file):
    from sim.configs import get_path, numeric_paths

    resolved = resolve(load_study(study_file(ALGORITHMS)))
    points = resolved.study.grid_points()
    assert len(points) == 2 * 4 + 4
    own = resolved.start["device.dw_min"]
    for point in points:
        settings = resolved.settings(point)
        config = configured(resolved.job([(point, 0)]).config, settings)
        steps = [get_path(config, p) for p in numeric_paths(config) if p.endswith(".dw_min")]
        assert steps, point
        assert set(steps) == {own * point.values["device.dw_min"]}, point
        if "every" in point.values:
            assert config.device.transfer_every == point.values["every"]
    with pytest.raises(StudyFileError, match="give the factor a condition with when"):
        resolve(load_study(study_file(ALGORITHMS, ('["ttv2"] }', '["ttv2", "sgd"] }'))))
