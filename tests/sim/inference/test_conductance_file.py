"""Conductances as a CSV file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sim.configs import InferenceRPUConfig, IOParameters, MappingParameter, SingleRPUConfig
from sim.inference import (
    ExportError,
    FusionConductanceConverter,
    NPairConductanceConverter,
    SingleDeviceConductanceConverter,
    SinglePairConductanceConverter,
    export_conductances,
    import_conductances,
)
from sim.nn import AnalogConv1d, AnalogLinear, AnalogSequential

MAPPING = MappingParameter(max_input_size=4, max_output_size=3, weight_scaling_omega=1.0)
CONFIG = InferenceRPUConfig(forward=IOParameters(is_perfect=True), mapping=MAPPING)


def model(config: Any = CONFIG) -> AnalogSequential:
    torch.manual_seed(3)
    return AnalogSequential(
        AnalogLinear(5, 4, rpu_config=config), torch.nn.ReLU(), AnalogSequential(AnalogLinear(4, 2, rpu_config=config))
    )


CONVERTERS = [
    FusionConductanceConverter(),
    SinglePairConductanceConverter(g_min=1.0),
    NPairConductanceConverter(f_lst=[1.0, 3.0]),  # FIX 14: as many matrices as the converter makes
    SingleDeviceConductanceConverter(),
]


@pytest.mark.parametrize("converter", CONVERTERS)
def test_there_and_back_through_a_file(converter: Any, tmp_path: Path) -> None:
    made = model()
    x = torch.randn(3, 5)
    y = made(x).detach()
    path = tmp_path / "g.csv"
    data, params, state = export_conductances(made, converter, path)
    other = model()
    for layer in other.analog_layers():
        layer.set_weights(torch.zeros_like(layer.get_weights()[0]), layer.get_weights()[1])
    import_conductances(path, other, params, state, converter)
    assert not other.training
    torch.testing.assert_close(other(x).detach(), y, atol=1e-5, rtol=1e-4)
    import_conductances([2 * g for g in data] if converter == CONVERTERS[0] else data, other, params, None, converter)
    torch.testing.assert_close(other(x).detach(), y, atol=1e-5, rtol=1e-4)


def test_groups_of_a_convolution_are_exported(tmp_path: Path) -> None:
    def made() -> AnalogSequential:
        return AnalogSequential(
            AnalogConv1d(4, 6, 3, groups=2, rpu_config=CONFIG), torch.nn.Flatten(), AnalogLinear(12, 2, rpu_config=CONFIG)
        )

    first, other, x = made(), made(), torch.randn(3, 4, 4)
    _, params, state = export_conductances(first, SinglePairConductanceConverter(), tmp_path / "g.csv")
    assert (tmp_path / "g.csv").read_text().split("\n")[3:5] == ["6,2", "6,12"]
    for tile in other.analog_tiles():
        tile.set_weights(torch.zeros_like(tile.get_weights()[0]), tile.get_weights()[1])
    import_conductances(tmp_path / "g.csv", other, params, state, SinglePairConductanceConverter())
    torch.testing.assert_close(other(x).detach(), first(x).detach(), atol=1e-5, rtol=1e-4)


def test_the_layout(tmp_path: Path) -> None:
    made = AnalogSequential(torch.nn.Flatten(), AnalogLinear(2, 2, rpu_config=InferenceRPUConfig()), torch.nn.Linear(2, 2),
                            AnalogLinear(2, 2, rpu_config=InferenceRPUConfig()))  # fmt: skip
    first, last = made.analog_layers()
    first.set_weights(torch.tensor([[1.0, 0.2], [0.3, -0.4]]), torch.zeros(2))
    last.set_weights(torch.tensor([[-0.5, 0.6], [0.7, -1.0]]), torch.zeros(2))
    data, params, _ = export_conductances(made, file_name=tmp_path / "g.csv")
    np.testing.assert_allclose(data[0], [40, 8, 30, 40], rtol=1e-6)
    np.testing.assert_allclose(data[1], [33.33333, 40, 28, 40], rtol=1e-6)
    lines = (tmp_path / "g.csv").read_bytes().decode().split("\n")
    assert lines[:6] == ["2,4", "AnalogLinear,AnalogLinear", "4,4", "2,2", "2,2", "1,3"]
    assert lines[6].endswith("\r")
    assert [float(v) for v in lines[6].split(",")] == pytest.approx([40, 8, 30, 40])
    pairs, _, _ = export_conductances(made, SinglePairConductanceConverter(g_max=1.0))
    np.testing.assert_allclose(pairs[0], [1, 0.2, 0.3, 0, 0, 0, 0, 0.4], atol=1e-6)
    assert list(params) == ["1.analog_module", "3.analog_module"]


def test_what_is_exported_has_neither_noise_nor_bias() -> None:
    made = model(InferenceRPUConfig(mapping=MappingParameter(digital_bias=False)))
    before, _, _ = export_conductances(made)
    made.eval()
    made.program_analog_weights()
    made.drift_analog_weights(3600.0)
    after, params, _ = export_conductances(made)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [len(v) for v in after] == [20, 8]
    bias = next(made.analog_layers()).analog_module.array.weight[0, :, -1].clone()
    import_conductances(after, made, params)
    assert torch.equal(next(made.analog_layers()).analog_module.array.weight[0, :, -1], bias)


def test_files_of_other_models_are_refused(tmp_path: Path) -> None:
    made = model()
    path = tmp_path / "g.csv"
    data, params, _ = export_conductances(made, file_name=path)
    wider = AnalogSequential(AnalogLinear(6, 4, rpu_config=CONFIG))
    with pytest.raises(ExportError, match=r"g\.csv:1"):
        import_conductances(path, wider, params)
    with pytest.raises(ExportError, match="2 layers, and the model has 1"):
        import_conductances(data, wider, params)
    with pytest.raises(ExportError, match="no multiple"):
        import_conductances([data[0][:-1], data[1]], made, params)
    with pytest.raises(ExportError, match="params has no"):
        import_conductances(data, made, {})
    with pytest.raises(ExportError, match="no such file"):
        import_conductances(tmp_path / "none.csv", made, params)
    path.write_text(path.read_text().replace("40", "forty", 1))
    with pytest.raises(ExportError, match="could not convert"):
        import_conductances(path, made, params)
    with pytest.raises(ExportError, match="only inference tiles"):
        export_conductances(model(SingleRPUConfig()))
    with pytest.raises(ExportError, match="no analog layer"):
        export_conductances(torch.nn.Linear(2, 3))
