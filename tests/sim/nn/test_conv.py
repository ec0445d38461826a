"""Convolutions against torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sim.configs import FloatingPointRPUConfig, MappingParameter
from sim.errors import ConfigError
from sim.nn import AnalogConv1d, AnalogConv2d, AnalogConv2dMapped, AnalogConv3d
from sim.ops import ShapeError
from sim.optim import AnalogSGD
from sim.tiles import TileGrid
from tests.sim.nn.common import assert_twins, ideal

CASES: list[tuple[type[Any], type[Any], tuple[int, ...], dict[str, Any]]] = [
    (AnalogConv1d, nn.Conv1d, (11,), {"kernel_size": 3}),
    (AnalogConv1d, nn.Conv1d, (11,), {"kernel_size": 4, "stride": 2, "padding": 3, "dilation": 2, "padding_mode": "reflect"}),
    (AnalogConv2d, nn.Conv2d, (7, 9), {"kernel_size": 3, "padding": 1}),
    (AnalogConv2d, nn.Conv2d, (7, 9), {"kernel_size": (2, 3), "stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}),
    (AnalogConv2d, nn.Conv2d, (7, 9), {"kernel_size": (4, 3), "padding": "same", "padding_mode": "circular"}),
    (AnalogConv2d, nn.Conv2d, (7, 9), {"kernel_size": 3, "padding": "valid", "bias": False}),
    (AnalogConv2d, nn.Conv2d, (7, 9), {"kernel_size": 3, "groups": 2, "padding": 2, "padding_mode": "replicate"}),
    (AnalogConv2d, nn.Conv2d, (7, 9), {"kernel_size": 3, "groups": 4}),
    (AnalogConv3d, nn.Conv3d, (4, 5, 6), {"kernel_size": (2, 3, 2), "stride": (1, 2, 1), "padding": 1}),
]


@pytest.mark.parametrize(("analog", "digital", "size", "fields"), CASES)
@pytest.mark.parametrize("digital_bias", [True, False])
def test_a_convolution_is_torchs(
    analog: type[Any], digital: type[Any], size: tuple[int, ...], fields: dict[str, Any], digital_bias: bool
) -> None:
    torch.manual_seed(0)
    twin = digital(4, 8, **fields)
    layer = analog.from_digital(twin, ideal(digital_bias=digital_bias))
    x = torch.randn(3, 4, *size)
    assert_twins(layer, twin, x)
    assert_twins(layer, twin, x[0])
    back = layer.to_digital()
    assert torch.equal(back.weight, twin.weight)
    torch.testing.assert_close(back(x), twin(x))
    optimizers = [AnalogSGD(layer.parameters(), lr=0.1), torch.optim.SGD(twin.parameters(), lr=0.1)]
    for model, optimizer in zip((layer, twin), optimizers, strict=True):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(layer.get_weights()[0], twin.weight.detach().flatten(1))
    if twin.bias is not None:
        torch.testing.assert_close(layer.get_weights()[1], twin.bias.detach())


def test_images_of_one_size_but_another_shape() -> None:
    # M26: 2 x 18 and 6 x 6 have as many elements
    twin = nn.Conv2d(1, 2, 2)
    layer = AnalogConv2d.from_digital(twin, ideal())
    for shape in ((2, 18), (6, 6), (18, 2)):
        assert_twins(layer, twin, torch.randn(2, 1, *shape))


def test_start_values_and_replicas() -> None:
    def layer(seeds: list[int]) -> AnalogConv2d:
        return AnalogConv2d(2, 3, 3, padding=1, rpu_config=FloatingPointRPUConfig(), replicas=len(seeds), seeds=seeds, stream="c")

    both, second = layer([1, 2]), layer([2])
    bound = 1 / (2 * 9) ** 0.5
    assert float(both.get_weights()[0].abs().max()) <= bound
    assert float(both.get_weights()[0].std()) == pytest.approx(bound / 3**0.5, rel=0.2)
    x = torch.randn(4, 2, 5, 5)
    y = both(x)
    assert y.shape == (4, 3, 5, 5)
    assert torch.equal(y[2:], second(x[2:]))
    for model, inputs in ((both, x), (second, x[2:])):
        optimizer = AnalogSGD(model.parameters(), lr=0.1)
        model(inputs).square().sum().backward()
        optimizer.step()
    assert torch.equal(both.get_weights()[0][1:], second.get_weights()[0])


def test_mapped_convolutions_split_whole_channels() -> None:
    mapping = {"max_input_size": 512, "max_output_size": 4}
    twin = nn.Conv2d(64, 6, 3, padding=1)
    layer = AnalogConv2dMapped.from_digital(twin, ideal(**mapping))
    assert isinstance(layer.analog_module, TileGrid)
    assert layer.analog_module.columns == [32 * 9, 32 * 9]
    assert layer.analog_module.rows == [3, 3]
    assert_twins(layer, twin, torch.randn(2, 64, 4, 4))
    grouped = nn.Conv2d(8, 6, 3, groups=2)
    assert_twins(AnalogConv2dMapped.from_digital(grouped, ideal(max_input_size=20)), grouped, torch.randn(2, 8, 5, 5))
    with pytest.raises(ConfigError, match="max_input_size"):
        AnalogConv2dMapped(4, 4, 3, rpu_config=ideal(max_input_size=8))
    with pytest.raises(ConfigError, match="digital_bias"):
        AnalogConv2dMapped(4, 4, 3, rpu_config=ideal(digital_bias=False))
    plain = AnalogConv2d.from_digital(twin, ideal(**mapping))
    assert plain.analog_module.columns == [288, 288]  # type: ignore[union-attr]
    assert MappingParameter(**mapping) == plain.analog_module.tiles[0].mapping  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"groups": 3}, "multiple of groups"),
        ({"padding_mode": "mirror"}, "padding_mode"),
        ({"padding": "full"}, "padding"),
        ({"padding": "same", "stride": 2}, "stride"),
        ({"stride": 0}, "stride"),
        ({"dilation": (1, 2, 3)}, "dilation"),
        ({"padding": -1}, "padding"),
    ],
)
def test_bad_settings(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        AnalogConv2d(4, 4, 3, **fields)


def test_bad_images() -> None:
    layer = AnalogConv2d(4, 4, 3)
    for shape in ((2, 3, 5, 5), (4, 5), (1, 4, 2, 2)):
        with pytest.raises(ShapeError):
            layer(torch.zeros(shape))
