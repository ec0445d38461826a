"""Hardware-aware against plain training: a small run of the study."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from studies import hardware_aware
from studies.data import load


@pytest.mark.parametrize("name", hardware_aware.NETWORKS)
def test_a_small_run(name: str, tmp_path) -> None:
    digits = load("digits", None)
    if name == "lenet":  # needs images that two convolutions leave something of
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


def test_what_the_docs_say_is_what_was_recorded() -> None:
    root = Path(hardware_aware.__file__).parents[1]
    record = json.loads((root / "studies" / "results" / "hardware_aware_mlp.json").read_text())
    docs = (root / "docs" / "inference.md").read_text().replace("**", "")

    def shown(values: list[float]) -> str:
        return "{:.2f} ± {:.2f}".format(*(100 * v for v in hardware_aware.interval(values)))

    assert record["seeds"] >= 5
    for kind, at in record["accuracy"].items():
        for case, times in at.items():
            assert f"{case} | {' | '.join(shown(v) for v in times.values())} |" in docs
        last = [np.array(list(at[case].values())[-1]) for case in ("hardware-aware", "plain")]
        mean, half = hardware_aware.interval(list(last[0] - last[1]))
        assert mean - half > 0
        assert shown(list(last[0] - last[1])) in docs, kind
    assert shown(record["digital"]) in docs
