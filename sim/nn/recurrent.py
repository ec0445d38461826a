"""Recurrent layers on analog tiles: cells, and layers of cells over a sequence."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sim.configs.rpu import RPUConfig
from sim.errors import ConfigError
from sim.nn.linear import AnalogLinear
from sim.nn.module import AnalogContainer, FromDigital
from sim.ops import ShapeError, sigmoid
from sim.tiles.common import check_size

__all__ = [
    "AnalogGRU",
    "AnalogGRUCell",
    "AnalogLSTM",
    "AnalogLSTMCell",
    "AnalogLSTMCellCombinedWeight",
    "AnalogRNN",
    "AnalogVanillaRNN",
    "AnalogVanillaRNNCell",
]

State: TypeAlias = Any
"""(B, hidden), or (h, c) of that shape for an LSTM."""


class AnalogCell(AnalogContainer):
    """A step of a recurrent layer.

    Parameters
    ----------
    input_size, hidden_size : size of the inputs, and of the state
    bias : whether each matrix has a bias
    rpu_config, tile_module_class, replicas, seeds, stream : as of `AnalogLayer`

    Notes
    -----
    ``cell(x, state)`` gives the output and the next state, for x (B, input_size); replicated: (R B, input_size).
    """

    gates: ClassVar[int] = 1

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True,
        rpu_config: RPUConfig | Sequence[RPUConfig] | None = None, tile_module_class: type[Any] | None = None,
        replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "cell",
    ) -> None:  # fmt: skip
        super().__init__()
        check_size(input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size
        self._make(bias, {"rpu_config": rpu_config, "tile_module_class": tile_module_class, "replicas": replicas}, seeds, stream)

    def _make(self, bias: bool, given: dict[str, Any], seeds: Sequence[int] | None, stream: str) -> None:
        rows = self.gates * self.hidden_size
        self.weight_ih = AnalogLinear(self.input_size, rows, bias, **given, seeds=seeds, stream=f"{stream}.weight_ih")
        self.weight_hh = AnalogLinear(self.hidden_size, rows, bias, **given, seeds=seeds, stream=f"{stream}.weight_hh")

    def zero_state(self, batch: int, like: Tensor) -> State:
        """State before the first step."""
        return like.new_zeros(batch, self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Output and next state."""
        raise NotImplementedError


class AnalogVanillaRNNCell(AnalogCell):
    __doc__ = f"""``h' = tanh(W_ih x + W_hh h)``; ``activation`` may be another function.\n{AnalogCell.__doc__}"""

    activation: Callable[[Tensor], Tensor] = staticmethod(torch.tanh)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        h = self.activation(self.weight_ih(x) + self.weight_hh(state))
        return h, h


class AnalogLSTMCell(AnalogCell):
    __doc__ = f"""Long short-term memory; the gates are in the order input, forget, cell, output.\n{AnalogCell.__doc__}"""

    gates = 4

    def zero_state(self, batch: int, like: Tensor) -> State:
        return like.new_zeros(batch, self.hidden_size), like.new_zeros(batch, self.hidden_size)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return _lstm(self.weight_ih(x) + self.weight_hh(state[0]), state[1])


class AnalogLSTMCellCombinedWeight(AnalogLSTMCell):
    __doc__ = f"""Long short-term memory with one matrix for inputs and state.\n{AnalogCell.__doc__}"""

    def _make(self, bias: bool, given: dict[str, Any], seeds: Sequence[int] | None, stream: str) -> None:
        width, rows = self.input_size + self.hidden_size, self.gates * self.hidden_size
        self.weight = AnalogLinear(width, rows, bias, **given, seeds=seeds, stream=f"{stream}.weight")

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return _lstm(self.weight(torch.cat([x, state[0]], dim=-1)), state[1])


class AnalogGRUCell(AnalogCell):
    __doc__ = f"""Gated recurrent unit; the gates are in the order reset, update, new.\n{AnalogCell.__doc__}"""

    gates = 3

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        r_in, z_in, n_in = self.weight_ih(x).chunk(3, dim=-1)
        r_h, z_h, n_h = self.weight_hh(state).chunk(3, dim=-1)
        r, z = sigmoid(r_in + r_h), sigmoid(z_in + z_h)
        new = torch.tanh(n_in + r * n_h)
        h = new + z * (state - new)
        return h, h


class AnalogRNN(AnalogContainer):
    """Layers of cells over a sequence.

    Parameters
    ----------
    cell : class of the cells
    input_size, hidden_size, bias : as of the cell
    rpu_config, tile_module_class, replicas, seeds, stream : as of `AnalogLayer`
    xavier : start with Xavier-uniform weights and biases of 0, instead of all uniform in +-1/sqrt(hidden_size)
    num_layers : number of layers
    bidir : whether each layer runs in both directions; outputs are then twice as wide
    dropout : probability with which outputs of all layers but the last are dropped in training

    Notes
    -----
    ``rnn(x, states=None)`` takes x (T, B, input_size), or a packed sequence, and gives the outputs (T, B, hidden_size) and the
    last states: a list with one for each layer ((h, c) for an LSTM; [forward, backward] if bidirectional). States are 0 if
    not given. With replicas the batch axis is R B, replica after replica. The pairs of an update come in the order of the
    backward pass: the last time step first.
    """

    def __init__(
        self, cell: type[AnalogCell], input_size: int, hidden_size: int, bias: bool = True,
        rpu_config: RPUConfig | Sequence[RPUConfig] | None = None, tile_module_class: type[Any] | None = None,
        xavier: bool = False, num_layers: int = 1, bidir: bool = False, dropout: float = 0.0,
        replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "rnn",
    ) -> None:  # fmt: skip
        super().__init__()
        check_size(num_layers=num_layers)
        if not 0.0 <= dropout <= 1.0:
            raise ConfigError(f"dropout = {dropout} is not allowed: give a number from 0 to 1", field="dropout", value=dropout)
        self.num_layers, self.bidir, self.dropout, self.hidden_size = num_layers, bidir, dropout, hidden_size
        directions = 2 if bidir else 1
        self.layers = nn.ModuleList(
            nn.ModuleList(
                cell(
                    input_size if layer == 0 else directions * hidden_size, hidden_size, bias, rpu_config, tile_module_class,
                    replicas, seeds, f"{stream}.{layer}.{direction}",
                )
                for direction in range(directions)
            )
            for layer in range(num_layers)
        )  # fmt: skip
        self.reset_parameters(xavier)

    def reset_parameters(self, xavier: bool = False) -> None:
        """Start values; see the class."""
        for layer in self.analog_layers():
            rows, columns = layer.get_weights()[0].shape[-2:]
            if xavier:
                layer.set_uniform(math.sqrt(6.0 / (rows + columns)), 0.0)
            else:
                layer.set_uniform(1.0 / math.sqrt(self.hidden_size))

    def cells(self) -> list[list[AnalogCell]]:
        """The cells of each layer, forward and backward."""
        return [list(layer) for layer in self.layers]  # type: ignore[call-overload]

    def forward(self, x: Tensor | PackedSequence, states: list[Any] | None = None) -> tuple[Any, list[Any]]:
        """Outputs and last states; see the class."""
        if isinstance(x, PackedSequence):
            padded, lengths = pad_packed_sequence(x)
            y, last = self._run(padded, states, lengths.to(padded.device))
            return pack_padded_sequence(y, lengths, enforce_sorted=False), last
        if x.dim() != 3:
            raise ShapeError(f"x has shape {tuple(x.shape)}; a sequence needs three axes: time, batch, features")
        return self._run(x, states, None)

    def _run(self, x: Tensor, states: list[Any] | None, lengths: Tensor | None) -> tuple[Tensor, list[Any]]:
        if states is not None and len(states) != self.num_layers:
            raise ShapeError(f"{len(states)} states for {self.num_layers} layers: give one each")
        last: list[Any] = []
        for k, cells in enumerate(self.cells()):
            if k and self.dropout > 0.0:
                x = functional.dropout(x, self.dropout, self.training)
            before = None if states is None else states[k]
            starts = [None] * len(cells) if before is None else (before if self.bidir else [before])
            runs = [_over_time(c, x, s, bool(d), lengths) for d, (c, s) in enumerate(zip(cells, starts, strict=True))]
            x = torch.cat([y for y, _ in runs], dim=-1) if self.bidir else runs[0][0]
            last.append([state for _, state in runs] if self.bidir else runs[0][1])
        return x, last


class AnalogRecurrent(FromDigital, AnalogContainer):
    """Torch's recurrent layer on analog tiles, with its parameters, inputs and outputs.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional : as of torch's layer
    rpu_config, tile_module_class, replicas, seeds, stream : as of `AnalogLayer`; the batch axis is then R B

    Raises
    ------
    ConfigError
        for a projection of the state (``proj_size``), which has no analog twin
    """

    cell: ClassVar[type[AnalogCell]]
    digital: ClassVar[type[Any]]

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0,
        rpu_config: RPUConfig | Sequence[RPUConfig] | None = None, tile_module_class: type[Any] | None = None,
        replicas: int | None = None, seeds: Sequence[int] | None = None, stream: str = "rnn",
    ) -> None:  # fmt: skip
        super().__init__()
        if proj_size:
            raise ConfigError(f"proj_size = {proj_size} is not available on tiles: give 0", field="proj_size", value=proj_size)
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.rnn = AnalogRNN(
            self.cell, input_size, hidden_size, bias, rpu_config, tile_module_class, num_layers=num_layers,
            bidir=bidirectional, dropout=dropout, replicas=replicas, seeds=seeds, stream=stream,
        )  # fmt: skip

    @classmethod
    def from_digital(
        cls, module: Any, rpu_config: RPUConfig | Sequence[RPUConfig] | None = None,
        tile_module_class: type[Any] | None = None, replicas: int | None = None, seeds: Sequence[int] | None = None,
        stream: str = "rnn",
    ) -> Self:  # fmt: skip
        """The analog layer with the weights, biases and flags of a torch layer, the same in all replicas."""
        layer = cls(
            module.input_size, module.hidden_size, module.num_layers, module.bias, module.batch_first, module.dropout,
            module.bidirectional, module.proj_size, rpu_config, tile_module_class, replicas, seeds, stream,
        )  # fmt: skip
        layer._take(module)
        return layer

    def to_digital(self) -> Any:
        """The torch layer with the same weights, biases and flags."""
        module = self._precise_twin()
        for name, matrix in self._matrices():
            matrix._give(_Twin(module, name))
        return module.train(self.training)

    def _twin(self) -> Any:
        return self.digital(
            self.input_size, self.hidden_size, num_layers=self.num_layers, bias=self.bias, batch_first=self.batch_first,
            dropout=self.dropout, bidirectional=self.bidirectional, **self._special(),
        )  # fmt: skip

    def _take(self, module: Any) -> None:
        self._adopt(module)
        for name, matrix in self._matrices():
            matrix._take(_Twin(module, name))
        self.train(module.training)

    def forward(self, x: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """Outputs and last state, in torch's layout."""
        if isinstance(x, PackedSequence):
            y, last = self.rnn(x, self._split(hx))
            if x.unsorted_indices is None:
                y = PackedSequence(y.data, y.batch_sizes)
            return y, self._joined(last)
        if x.dim() == 2:
            state = None if hx is None else _map(hx, lambda t: t.unsqueeze(1))
            y, last = self.rnn(x.unsqueeze(1), self._split(state))
            return y.squeeze(1), _map(self._joined(last), lambda t: t.squeeze(1))
        y, last = self.rnn(x.transpose(0, 1) if self.batch_first else x, self._split(hx))
        return (y.transpose(0, 1) if self.batch_first else y), self._joined(last)

    def _adopt(self, module: Any) -> None:
        """What a kind of layer takes over beside its matrices."""

    def _special(self) -> dict[str, Any]:
        """What a kind of torch layer is made with beside the rest."""
        return {}

    def _matrices(self) -> list[tuple[str, AnalogLinear]]:
        """Every matrix with the end of its name in the torch layer."""
        found = []
        for k, cells in enumerate(self.rnn.cells()):
            for d, cell in enumerate(cells):
                end = f"l{k}" + ("_reverse" if d else "")
                found += [(f"ih_{end}", cell.weight_ih), (f"hh_{end}", cell.weight_hh)]
        return found

    def _split(self, state: Any) -> list[Any] | None:
        """A state (layers directions, B, hidden), or two, as a list for each layer."""
        if state is None:
            return None
        n = 2 if self.bidirectional else 1
        of = [_map(state, operator.itemgetter(k)) for k in range(self.num_layers * n)]
        return [of[n * k : n * k + n] for k in range(self.num_layers)] if self.bidirectional else of

    def _joined(self, last: list[Any]) -> Any:
        flat = [state for layer in last for state in layer] if self.bidirectional else last
        if isinstance(flat[0], tuple):
            return tuple(torch.stack(part) for part in zip(*flat, strict=True))
        return torch.stack(flat)


class AnalogLSTM(AnalogRecurrent):
    __doc__ = AnalogRecurrent.__doc__
    cell, digital = AnalogLSTMCell, nn.LSTM


class AnalogGRU(AnalogRecurrent):
    __doc__ = AnalogRecurrent.__doc__
    cell, digital = AnalogGRUCell, nn.GRU


class AnalogVanillaRNN(AnalogRecurrent):
    __doc__ = AnalogRecurrent.__doc__
    cell, digital = AnalogVanillaRNNCell, nn.RNN

    nonlinearity = "tanh"

    def _adopt(self, module: Any) -> None:
        self.nonlinearity = module.nonlinearity
        for cells in self.rnn.cells():
            for cell in cells:
                cell.__dict__["activation"] = torch.relu if self.nonlinearity == "relu" else torch.tanh

    def _special(self) -> dict[str, Any]:
        return {"nonlinearity": self.nonlinearity}


class _Twin:
    """One matrix of a torch layer with its bias, as if it were a layer."""

    def __init__(self, module: Any, name: str) -> None:
        self.weight = getattr(module, f"weight_{name}")
        self.bias = getattr(module, f"bias_{name}") if module.bias else None
        self.training = module.training

    def train(self, mode: bool) -> _Twin:
        return self


def _lstm(gates: Tensor, c: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    i, f, g, o = gates.chunk(4, dim=-1)
    c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
    h = sigmoid(o) * torch.tanh(c)
    return h, (h, c)


def _map(state: Any, fn: Callable[[Tensor], Tensor]) -> Any:
    return tuple(fn(part) for part in state) if isinstance(state, tuple | list) else fn(state)


def _over_time(
    cell: AnalogCell, x: Tensor, state: State, backward: bool, lengths: Tensor | None
) -> tuple[Tensor, State]:  # fmt: skip
    """Outputs (T, B, hidden) and last state; beyond the length of a sample its state stays and its output is 0."""
    steps = len(x)
    state = cell.zero_state(x.shape[1], x) if state is None else state
    outputs: list[Any] = [None] * steps
    for t in reversed(range(steps)) if backward else range(steps):
        y, new = cell(x[t], state)
        if lengths is not None:
            inside = (t < lengths).unsqueeze(1)
            y = torch.where(inside, y, 0.0)
            if isinstance(new, tuple):
                new = tuple(torch.where(inside, a, b) for a, b in zip(new, state, strict=True))
            else:
                new = torch.where(inside, new, state)
        outputs[t], state = y, new
    return torch.stack(outputs), state
