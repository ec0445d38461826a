"""Recurrent layers against torch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sim.configs import SingleRPUConfig
from sim.errors import ConfigError
from sim.nn import (
    AnalogGRU,
    AnalogGRUCell,
    AnalogLSTM,
    AnalogLSTMCell,
    AnalogLSTMCellCombinedWeight,
    AnalogRNN,
    AnalogVanillaRNN,
    AnalogVanillaRNNCell,
)
from sim.ops import ShapeError
from sim.optim import AnalogSGD
from tests.sim.nn.common import assert_twins, ideal

KINDS: list[tuple[type[Any], Any, dict[str, Any]]] = [
    (AnalogLSTM, nn.LSTM, {}),
    (AnalogGRU, nn.GRU, {"bias": False}),
    (AnalogVanillaRNN, nn.RNN, {"nonlinearity": "relu"}),
    (AnalogVanillaRNN, nn.RNN, {}),
]


@pytest.mark.parametrize(("analog", "digital", "fields"), KINDS)
@pytest.mark.parametrize("shape", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}])
def test_a_recurrent_layer_is_torchs(analog: type[Any], digital: Any, fields: dict[str, Any], shape: dict[str, Any]) -> None:
    torch.manual_seed(0)
    twin = digital(5, 6, **fields, **shape)
    layer = analog.from_digital(twin, ideal())
    x = torch.randn(4, 3, 5)
    assert_twins(layer, twin, x)
    torch.testing.assert_close(layer(x), twin(x))
    torch.testing.assert_close(layer(x[0]), twin(x[0]))
    _, state = twin(x)
    torch.testing.assert_close(layer(x, state), twin(x, state))
    lengths = torch.tensor([2, 3]) if shape else torch.tensor([2, 4, 1])
    batch = x[:2] if shape else x
    packed = pack_padded_sequence(batch, lengths, batch_first=bool(shape), enforce_sorted=False)
    ours, theirs = layer(packed), twin(packed)
    torch.testing.assert_close(pad_packed_sequence(ours[0])[0], pad_packed_sequence(theirs[0])[0])
    torch.testing.assert_close(ours[1], theirs[1])
    for before, after in zip(twin.parameters(), layer.to_digital().parameters(), strict=True):
        assert torch.equal(before, after)
    optimizers = [AnalogSGD(layer.parameters(), lr=0.1), torch.optim.SGD(twin.parameters(), lr=0.1)]
    for model, optimizer in zip((layer, twin), optimizers, strict=True):
        optimizer.zero_grad()
        model(x)[0].square().mean().backward()
        optimizer.step()
    for before, after in zip(twin.parameters(), layer.to_digital().parameters(), strict=True):
        torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-4)


CELLS = [AnalogVanillaRNNCell, AnalogLSTMCell, AnalogLSTMCellCombinedWeight, AnalogGRUCell]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidir", [True, False])
def test_a_stack_of_cells(cell: type[Any], bidir: bool) -> None:
    torch.manual_seed(0)
    rnn = AnalogRNN(cell, 5, 4, rpu_config=SingleRPUConfig(), num_layers=2, bidir=bidir, dropout=0.5)
    x = torch.randn(7, 3, 5)
    y, states = rnn(x)
    assert y.shape == (7, 3, 8 if bidir else 4)
    assert len(states) == 2
    last = states[1][0] if bidir else states[1]
    h = last[0] if isinstance(last, tuple) else last
    assert torch.equal(h, y[-1, :, :4])
    again, _ = rnn(x, states)
    assert again.shape == y.shape
    with pytest.raises(ShapeError, match="states"):
        rnn(x, states[:1])
    with pytest.raises(ShapeError, match="three axes"):
        rnn(x[0])


def test_dropout_acts_between_layers_in_training() -> None:
    rnn = AnalogRNN(AnalogGRUCell, 5, 4, rpu_config=ideal(), num_layers=2, dropout=1.0)
    x = torch.randn(2, 3, 5)
    assert torch.equal(rnn(x)[0], rnn(torch.randn(2, 3, 5))[0])  # nothing gets through
    rnn.eval()
    assert not torch.equal(rnn(x)[0], rnn(torch.randn(2, 3, 5))[0])


def test_start_values() -> None:
    plain = AnalogRNN(AnalogLSTMCell, 40, 30, rpu_config=ideal())
    for layer in plain.analog_layers():
        weight, bias = layer.get_weights()
        assert bias is not None
        assert float(weight.abs().max()) <= 30**-0.5
        assert float(bias.std()) == pytest.approx((30 * 3) ** -0.5, rel=0.2)
    xavier = AnalogRNN(AnalogLSTMCell, 40, 30, rpu_config=ideal(), xavier=True)
    for layer in xavier.analog_layers():
        weight, bias = layer.get_weights()
        assert float(weight.std()) == pytest.approx((2.0 / (weight.shape[0] + weight.shape[1])) ** 0.5, rel=0.1)
        assert bias is not None
        assert not bool(bias.any())


def test_replicas_run_side_by_side() -> None:
    def rnn(seeds: list[int]) -> AnalogRNN:
        return AnalogRNN(AnalogLSTMCell, 5, 4, rpu_config=[SingleRPUConfig()] * len(seeds), seeds=seeds, stream="r")

    both, second = rnn([1, 2]), rnn([2])
    x = torch.randn(3, 8, 5)
    for model, inputs in ((both, x), (second, x[:, 4:])):
        optimizer = AnalogSGD(model.parameters(), lr=0.1)
        model(inputs)[0].square().sum().backward()
        optimizer.step()
    assert torch.equal(both(x)[0][:, 4:], second(x[:, 4:])[0])


def test_what_has_no_analog_twin_is_refused() -> None:
    with pytest.raises(ConfigError, match="proj_size"):
        AnalogLSTM.from_digital(nn.LSTM(5, 4, proj_size=2), ideal())
    with pytest.raises(ConfigError, match="dropout"):
        AnalogRNN(AnalogGRUCell, 3, 3, dropout=2.0)
