"""The torch ops: autograd, the compiler, and what the wrappers refuse."""

from __future__ import annotations

import pytest
import torch

from sim import ops
from sim.arrays import PulsedArray
from sim.arrays.product import Product
from sim.configs import IOParameters, SoftBoundsDevice, UpdateParameters
from sim.ops import MvmFlags, ShapeError, TrainFlags


def mvm_args(transposed: bool = False) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    product = Product([IOParameters()] * 2, [1, 2], transposed, (5, 7))
    weight = torch.randn(2, 5, 7) * 0.1
    x = torch.randn(2, 3, 5 if transposed else 7)
    return weight, x, product.settings, product.keys, product.step


@pytest.mark.parametrize("transposed", [False, True])
def test_opcheck_of_the_product(transposed: bool) -> None:
    weight, x, settings, keys, step = mvm_args(transposed)
    flags = MvmFlags(transposed=transposed, noise_management=1).ints
    extra = torch.zeros(2, 3, 7 if transposed else 5), weight.clone().unsqueeze(1), torch.empty(0), torch.ones(2, 1, 5)
    args = weight.requires_grad_(), x.requires_grad_(), settings, keys, step, *extra, flags, True
    torch.library.opcheck(torch.ops.sim.mvm, args)


def update_args() -> list[object]:
    array = PulsedArray([SoftBoundsDevice()], [UpdateParameters()], (5, 7), [1])
    x, d = torch.randn(1, 3, 7), torch.randn(1, 3, 5)
    apparent = torch.empty(0)
    device = ops.device_index(array.kernel)
    flags = TrainFlags().ints
    counts = torch.empty(0, dtype=torch.int64)
    return [
        array.weight, apparent, counts, array.fields, array.field_of, array.values, array.shared, x, d,
        torch.tensor([0.1]), array.granularity, array.trains.settings, array.noise, array.keys, array.trains.keys, array.steps[0],
        device, flags,
    ]  # fmt: skip


def test_opcheck_of_the_update() -> None:
    torch.library.opcheck(torch.ops.sim.pulsed_update_, tuple(update_args()), test_utils=("test_schema", "test_faketensor"))


def test_opcheck_of_the_others() -> None:
    keys = ops.key_tensor_of([1, 2])
    torch.library.opcheck(torch.ops.sim.random_field, (keys, 64, torch.tensor(0), 10, True))
    torch.library.opcheck(torch.ops.sim.sigmoid, (torch.randn(5, 3, requires_grad=True),))
    exact = (torch.zeros(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 5, 3), torch.ones(2))
    torch.library.opcheck(torch.ops.sim.exact_update_, exact, test_utils=("test_schema", "test_faketensor"))


def test_gradients_are_those_of_the_exact_product() -> None:
    weight, x, settings, keys, step = mvm_args()
    weight.requires_grad_()
    x.requires_grad_()
    y, _ = ops.mvm(weight, x, settings, keys, step, MvmFlags(noise_management=1, bound_management=1))
    g = torch.randn_like(y)
    y.backward(g)
    torch.testing.assert_close(x.grad, g @ weight.detach())
    torch.testing.assert_close(weight.grad, g.transpose(1, 2) @ x.detach())


def test_compiled_code_gives_the_same_bits() -> None:
    weight, x, settings, keys, step = mvm_args()

    def run(weight: torch.Tensor, x: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        y, _ = ops.mvm(weight, x * 2.0, settings, keys, step, MvmFlags(noise_management=1))
        return ops.sigmoid(y) + 1.0

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    for k in range(3):  # a new step makes no new graph
        assert torch.equal(compiled(weight, x, step + k), run(weight, x, step + k))


def test_compiled_updates_change_in_place() -> None:
    args = update_args()
    twin = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]

    def run(weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        torch.ops.sim.pulsed_update_(weight, *args[1:7], x, *args[8:])
        return weight.sum()

    torch.compile(run, fullgraph=True, backend="aot_eager")(args[0], args[7])
    torch.ops.sim.pulsed_update_(*twin)
    assert torch.equal(args[0], twin[0])  # type: ignore[arg-type]


def test_a_compiled_model_trains() -> None:
    from torch import nn

    from sim.configs import SingleRPUConfig
    from sim.nn import convert_to_analog
    from sim.optim import AnalogSGD

    torch.manual_seed(0)
    model = convert_to_analog(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), SingleRPUConfig())
    optimizer = AnalogSGD(model.parameters(), lr=0.5)
    before = model[0].get_weights()[0]
    torch.compile(model, backend="aot_eager")(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].get_weights()[0], before)


BAD = [
    (lambda w, x, s, k, t: ops.mvm(w, x.double(), s, k, t, MvmFlags()), "float64"),
    (lambda w, x, s, k, t: ops.mvm(w, x[:, :, :3], s, k, t, MvmFlags()), "shape"),
    (lambda w, x, s, k, t: ops.mvm(w, x.transpose(0, 1).contiguous().transpose(0, 1), s, k, t, MvmFlags()), "contiguous"),
    (lambda w, x, s, k, t: ops.mvm(w[0], x, s, k, t, MvmFlags()), "shape"),
    (lambda w, x, s, k, t: ops.mvm(w, x, s[:1], k, t, MvmFlags()), "settings"),
    (lambda w, x, s, k, t: ops.mvm(w, x, s, k.int(), t, MvmFlags()), "int32"),
    (lambda w, x, s, k, t: ops.exact_update_(w.requires_grad_(), x, torch.zeros(2, 3, 5), torch.ones(2)), "detach"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_wrappers_refuse_in_plain_words(call: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call(*mvm_args())  # type: ignore[operator]
