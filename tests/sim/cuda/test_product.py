"""The stages around a product, run on the CPU thread after thread, against the C++ path.

Weights, inputs and converted inputs are multiples of powers of two, so that every sum is exact and its order plays no part: the
results are equal in bits. Where noise comes in before the product they agree to float32 rounding.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sim.arrays.product import Product
from sim.configs import BitSlicedIOParameters, IOParameters, IOParametersIRDropT
from sim.cuda.product import mvm

EXACT: dict[str, Any] = {"inp_res": 1 / 16, "out_res": 1 / 64, "out_bound": 4.0, "out_noise": 0.05}


pytestmark = pytest.mark.usefixtures("emulated")


def both(io: IOParameters, monkeypatch: pytest.MonkeyPatch, transposed: bool = False) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The same three calls on the C++ path and on the kernels."""
    generator = torch.Generator().manual_seed(5)
    out, n_in = (32, 70) if transposed else (70, 32)
    weight = torch.randint(-32, 33, (2, out, n_in), generator=generator) / 64
    x = torch.randint(-192, 193, (2, 9, 32), generator=generator) / 64
    x[0, 1] = 0.0
    x[1, 2, 3] = float("nan")
    results = []
    for on_gpu in (False, True):
        if on_gpu:
            monkeypatch.setattr("sim.arrays.product.is_direct", lambda *_: False)  # not packed for the C++ path
            monkeypatch.setattr("sim.ops.product._mvm_cpu", mvm)
        product = Product([io, io], [3, 2**63 + 9], transposed, (out, n_in))
        results.append([product(weight, x, want_clipped=True) for _ in range(3)])
    return [(torch.stack([a, c.float()]), torch.stack([b, d.float()])) for (a, c), (b, d) in zip(*results, strict=True)]


CASES: list[dict[str, Any]] = [
    {},
    {"noise_management": "NONE", "bound_management": "NONE"},
    {"noise_management": "MAX"},
    {"noise_management": "CONSTANT", "nm_thres": 2.0},
    {"noise_management": "ABS_MAX", "nm_thres": 1.5},
    {"noise_management": "ABS_MAX_NP_SUM"},
    {"noise_management": "AVERAGE_ABS_MAX"},
    {"bound_management": "ITERATIVE", "out_bound": 1.0},
    {"bound_management": "ITERATIVE", "out_bound": 1.0, "bm_test_negative_bound": False},
    {"bound_management": "ITERATIVE_WORST_CASE", "out_bound": 1.0},
    {"bound_management": "SHIFT", "out_bound": 1.0},
    {"inp_sto_round": True, "out_sto_round": True},
    {"w_noise": 0.05, "w_noise_type": "ADDITIVE_CONSTANT"},
    {"w_noise": 0.05, "w_noise_type": "ADDITIVE_CONSTANT", "out_asymmetry": 0.25},
    {"w_noise": 0.05, "w_noise_type": "PCM_READ"},
    {"out_noise_std": 0.3},
    {
        "out_nonlinearity": 0.5,
        "out_nonlinearity_std": 0.2,
        "slope_calibration": 0.5,
        "w_noise": 0.02,
        "w_noise_type": "ADDITIVE_CONSTANT",
    },
    {"v_offset_std": 0.05, "r_series": 0.02},
    {"ir_drop": 1.0, "ir_drop_g_ratio": 4096.0},
    {"mv_type": "POS_NEG_SEPARATE"},
    {"mv_type": "POS_NEG_SEPARATE_DIGITAL_SUM"},
    {"mv_type": "BIT_WISE"},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(f"{k}={v}" for k, v in case.items()) or "defaults")
@pytest.mark.parametrize("transposed", [False, True])
def test_the_same_bits(case: dict[str, Any], transposed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for expected, found in both(IOParameters(**EXACT | case), monkeypatch, transposed):
        assert torch.equal(expected.nan_to_num(9.0), found.nan_to_num(9.0))


@pytest.mark.parametrize(
    "io",
    [
        IOParameters(**EXACT | {"inp_noise": 0.1, "inp_asymmetry": 0.1, "out_res": -1}),
        IOParameters(**EXACT | {"is_perfect": True, "out_scale": 1.5}),
        IOParameters(**EXACT | {"w_read_asymmetry_dtod": 0.1, "mv_type": "POS_NEG_SEPARATE", "out_res": -1}),
        IOParameters(**EXACT | {"mv_type": "SPLIT_MODE", "inp_res": 1 / 30, "out_res": -1}),
        BitSlicedIOParameters(**EXACT | {"out_res": -1}),
        IOParametersIRDropT(**EXACT | {"out_res": -1}),
    ],
    ids=["input noise", "perfect", "asymmetric reads", "split mode", "bit slices", "wires in time"],
)
def test_the_same_to_rounding(io: IOParameters, monkeypatch: pytest.MonkeyPatch) -> None:
    for expected, found in both(io, monkeypatch):
        torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-5, equal_nan=True)
