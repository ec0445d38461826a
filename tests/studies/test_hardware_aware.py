"""Hardware-aware against plain training: a small run of the study."""

from __future__ import annotations

from dataclasses import replace

import pytest

from studies import hardware_aware
from studies.data import load


@pytest.mark.parametrize("name", hardware_aware.NETWORKS)
def test_a_small_run(name: str, tmp_path) -> None:
    digits = load("digits", None)
    if name == "lenet":  # needs images that two convolutions leave something of
        import numpy as np

        wide = [np.kron(x.reshape(-1, 8, 8), np.ones((1, 2, 2), np.float32))[:64].reshape(-1, 256)
                for x in (digits.train_x, digits.test_x)]  # fmt: skip
        digits = replace(
            digits, train_x=wide[0], test_x=wide[1], train_y=digits.train_y[:64], test_y=digits.test_y[:64], shape=(1, 16, 16)
        )
    found = hardware_aware.run(digits, name, seeds=2, epochs=1, programmings=1, times=(1.0, hardware_aware.YEAR))
    assert set(found["accuracy"]) == {"global", "none"}
    for at in found["accuracy"].values():
        assert set(at) == set(hardware_aware.CASES)
        assert all(len(v) == 2 for times in at.values() for v in times.values())
    record = {"network": name, "seeds": 2, **found}
    assert "gain of hardware-aware" in hardware_aware.report(record)
    hardware_aware.draw(record, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000
    mean, half = hardware_aware.interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(2.484, abs=1e-3)
