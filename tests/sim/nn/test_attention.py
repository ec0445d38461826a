"""Attention and transformer blocks against torch's, in training and in evaluation (where torch has kernels of its own)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sim.errors import ConfigError
from sim.nn import AnalogLinear, AnalogMultiheadAttention, convert_to_analog, convert_to_digital
from tests.sim.nn.common import ideal


@pytest.mark.parametrize("fields", [{}, {"batch_first": True, "bias": False}, {"kdim": 6, "vdim": 4}])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs(fields: dict[str, Any], masked: bool) -> None:
    torch.manual_seed(0)
    twin = nn.MultiheadAttention(8, 2, **fields)
    layer = AnalogMultiheadAttention.from_digital(twin, ideal())
    first = bool(fields.get("batch_first"))
    shape = (3, 5) if first else (5, 3)
    q = torch.randn(*shape, 8)
    k, v = torch.randn(*shape, fields.get("kdim", 8)), torch.randn(*shape, fields.get("vdim", 8))
    masks: dict[str, Any] = {}
    if masked:
        masks["attn_mask"] = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
        masks["key_padding_mask"] = torch.tensor([[False] * 5, [False] * 4 + [True], [False] * 3 + [True] * 2])
    for options in ({}, {"need_weights": False}, {"average_attn_weights": False}):
        torch.testing.assert_close(layer(q, k, v, **masks, **options), twin(q, k, v, **masks, **options))
    one = [t[0] if first else t[:, 0] for t in (q, k, v)]
    torch.testing.assert_close(layer(*one), twin(*one))
    if masked:
        heads = torch.randn(6, 5, 5)
        torch.testing.assert_close(layer(q, k, v, attn_mask=heads), twin(q, k, v, attn_mask=heads))
    back = layer.to_digital()
    torch.testing.assert_close(back(q, k, v), twin(q, k, v))


def test_attention_drops_weights_in_training() -> None:
    layer = AnalogMultiheadAttention(8, 2, dropout=1.0, rpu_config=ideal())
    x = torch.randn(5, 3, 8)
    assert not bool(layer(x, x, x)[1].any())
    layer.eval()
    assert bool(layer(x, x, x)[1].any())


@pytest.mark.parametrize("fields", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_what_has_no_analog_twin_is_refused_by_name(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        convert_to_analog(nn.Sequential(nn.MultiheadAttention(8, 2, **fields)), ideal())


@pytest.mark.parametrize("exclude", [(), ("layers.0.self_attn", "layers.1.self_attn")])
def test_no_kernel_of_torch_bypasses_the_tiles(exclude: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    twin = nn.TransformerEncoder(layer, 2)
    model = convert_to_analog(twin, ideal(), exclude_modules=exclude)
    twin.use_nested_tensor = False  # torch warns of its prototype
    assert isinstance(model.layers[0].linear1, AnalogLinear)
    x = torch.randn(3, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 4 + [True], [False] * 3 + [True] * 2])
    seen: list[int] = []
    for tile in model.analog_tiles():
        tile.register_forward_hook(lambda *_: seen.append(1))
    tiles = model.analog_tile_count()
    assert tiles == 2 * (2 if exclude else 6)
    for mode in (True, False):
        model.train(mode)
        twin.train(mode)
        for given in ({}, {"src_key_padding_mask": padding}):
            seen.clear()
            with torch.no_grad():
                ours, theirs = model(x, **given), twin(x, **given)
            assert len(seen) == tiles
            kept = ~padding if given else torch.ones_like(padding)
            torch.testing.assert_close(ours[kept], theirs[kept], atol=1e-5, rtol=1e-4)
    for hook in list(model.analog_tiles()):
        hook._forward_hooks.clear()
    model.eval()
    with torch.no_grad():  # without hooks torch would take its kernels
        torch.testing.assert_close(model(x), twin(x), atol=1e-5, rtol=1e-4)
    digital = convert_to_digital(model)
    assert type(digital) is nn.TransformerEncoder
    with torch.no_grad():
        torch.testing.assert_close(digital(x), twin(x), atol=1e-5, rtol=1e-4)


def test_a_whole_transformer() -> None:
    torch.manual_seed(0)
    twin = nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True)
    model = convert_to_analog(twin, ideal())
    source, target = torch.randn(3, 5, 8), torch.randn(3, 4, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    torch.testing.assert_close(model(source, target, tgt_mask=mask), twin(source, target, tgt_mask=mask), atol=1e-5, rtol=1e-4)
