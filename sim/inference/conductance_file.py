"""Conductances of a model as a CSV file for a chip, and back (inference.md, 9.2)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sim.errors import FitlabError
from sim.inference.converters import BaseConductanceConverter, FusionConductanceConverter
from sim.nn.container import AnalogContainer
from sim.tiles.grid import TileGrid
from sim.tiles.inference import InferenceTile
from sim.tiles.tile import Tile

__all__ = ["ExportError", "export_conductances", "import_conductances"]

HEADER = 5  # lines: module number, class, number of weights, height, width; one entry a layer


class ExportError(FitlabError):
    """A model that cannot be exported, or conductances that do not belong to it."""


@dataclass(frozen=True)
class _Layer:
    number: int
    name: str
    kind: str
    height: int
    width: int
    tiles: dict[str, InferenceTile]

    def header(self) -> tuple[str, ...]:
        return str(self.number), self.kind, str(self.height * self.width), str(self.height), str(self.width)


def export_conductances(
    model: nn.Module, g_converter: BaseConductanceConverter | None = None, file_name: str | Path | None = None
) -> tuple[list[Tensor], dict[str, Any], dict[str, Any]]:
    """Target conductances of every analog layer, in module order.

    Parameters
    ----------
    model : model with inference tiles
    g_converter : from weights to conductances; a FusionConductanceConverter if not given
    file_name : CSV file to write

    Returns
    -------
    conductances : one vector a layer, µS: for each tile all matrices of the converter, row by row; of the weights without digital
        scales and without bias
    params : what the way back needs, by the name of the tile
    state_dict : of the model

    Raises
    ------
    ExportError
        for a model without analog layers, with other tiles, or with replicas
    """
    converter = FusionConductanceConverter() if g_converter is None else g_converter
    layers = list(_layers(model))
    data, params = [], {}
    for layer in layers:
        parts = []
        for name, tile in layer.tiles.items():
            conductances, params[name] = converter.convert_to_conductances(tile.array.weight.detach()[0, :, : tile.in_size])
            parts += [g.reshape(-1) for g in conductances]
        data.append(torch.cat(parts))
    if file_name is not None:
        _write(Path(file_name), layers, data)
    return data, params, model.state_dict()


def import_conductances(
    source: str | Path | Sequence[Tensor], model: nn.Module, params: dict[str, Any], state_dict: dict[str, Any] | None = None,
    g_converter: BaseConductanceConverter | None = None,
) -> nn.Module:  # fmt: skip
    """Set the weights of a model from conductances, for example as a chip has them; biases and scales stay.

    Parameters
    ----------
    source : CSV file, or one vector of conductances a layer, as `export_conductances` gives them
    model : the model that was exported, or its like; it is put into evaluation mode
    params : as of `export_conductances`
    state_dict : loaded first, if given
    g_converter : the converter of the export; a FusionConductanceConverter if not given

    Raises
    ------
    ExportError
        if the file is not one of this model, or the number of conductances is not that of the converter
    """
    converter = FusionConductanceConverter() if g_converter is None else g_converter
    if state_dict is not None:
        model.load_state_dict(state_dict)
    layers = list(_layers(model))
    data = _read(Path(source), layers) if isinstance(source, str | Path) else [torch.as_tensor(v) for v in source]
    if len(data) != len(layers):
        raise ExportError(f"there are conductances of {len(data)} layers, and the model has {len(layers)}")
    model.eval()
    for layer, values in zip(layers, data, strict=True):
        matrices, rest = divmod(values.numel(), layer.height * layer.width)
        if rest or not matrices:
            raise ExportError(
                f"layer {layer.name!r} has {values.numel()} conductances, which is no multiple of its {layer.height} x "
                f"{layer.width} weights"
            )
        start = 0
        for name, tile in layer.tiles.items():
            if name not in params:
                raise ExportError(f"params has no {name!r}: give those of the export of this model")
            n = tile.out_size * tile.in_size
            found = [
                values[start + k * n : start + (k + 1) * n].to(tile.dtype).reshape(tile.out_size, -1) for k in range(matrices)
            ]
            start += matrices * n
            weight = converter.convert_back_to_weights(found, params[name])
            tile.array.forget_devices()
            tile.set_weights(weight, tile.get_weights(apply_weight_scaling=False)[1], apply_weight_scaling=False)
    return model


def _layers(model: nn.Module) -> Iterator[_Layer]:
    number, inside = 0, ""
    found = False
    for name, module in model.named_modules():
        if inside and name.startswith(inside):
            continue
        analog = getattr(module, "analog_module", None)
        if analog is None and isinstance(module, AnalogContainer | nn.ModuleList):
            continue
        if isinstance(module, Tile | TileGrid):
            raise ExportError(f"{name or 'the model'} is a bare tile: give a model with analog layers")
        number += 1
        if analog is None:
            continue
        inside, found = f"{name}." if name else "", True
        prefix = f"{name}.analog_module" if name else "analog_module"
        tiles: dict[str, InferenceTile] = {}
        for part_name, part in analog.named_modules():
            if isinstance(part, Tile):
                if not isinstance(part, InferenceTile) or part.replicas > 1:
                    raise ExportError(f"{name!r} is on a {part!r}: only inference tiles without replicas can be exported")
                tiles[f"{prefix}.{part_name}" if part_name else prefix] = part
        yield _Layer(number, name, type(module).__name__, analog.out_size, analog.in_size, tiles)
        if not inside:
            return
    if not found:
        raise ExportError("the model has no analog layer: convert it with an InferenceRPUConfig")


def _write(path: Path, layers: list[_Layer], data: list[Tensor]) -> None:
    text = io.StringIO(newline="")
    for line in zip(*(layer.header() for layer in layers), strict=True):
        text.write(",".join(line) + "\n")
    text.write(",".join(layer.name for layer in layers) + "\n")
    writer = csv.writer(text)
    for values in data:
        writer.writerow(f"{v:.9g}" for v in values.tolist())
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(text.getvalue().encode())
    os.replace(temporary, path)


def _read(path: Path, layers: list[_Layer]) -> list[Tensor]:
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file")
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    expected = [list(line) for line in zip(*(layer.header() for layer in layers), strict=True)]
    names = ("module numbers", "classes", "numbers of weights", "heights", "widths")
    for k, (name, line) in enumerate(zip(names, expected, strict=True)):
        if k >= len(rows) or rows[k] != line:
            given = ",".join(rows[k]) if k < len(rows) else ""
            raise ExportError(f"{path}:{k + 1}: the {name} are {given!r}, and those of the model {','.join(line)!r}")
    lines = rows[HEADER + 1 :]
    if len(lines) != len(layers):
        raise ExportError(f"{path}: there are {len(lines)} lines of conductances for {len(layers)} layers")
    data = []
    for k, row in enumerate(lines):
        try:
            data.append(torch.tensor([float(v) for v in row]))
        except ValueError as error:
            raise ExportError(f"{path}:{HEADER + 2 + k}: {error}; conductances are numbers in µS") from None
    return data
