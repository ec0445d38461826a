"""Task functions for tests of the engine: known answers, and every way to go wrong."""

from __future__ import annotations

import math
import os
import signal
import time

import numpy as np

from studies.records import Job
from studies.task import Control


def smooth(job: Job, control: Control) -> list[dict[str, float]]:
    """Accuracy that falls with ``noise`` and is 0.98 in the baseline, with scatter from the seed."""
    results = []
    for pair in job.pairs:
        control.check()
        scatter = np.random.default_rng(pair.seeds["simulator"] % 2**32).normal()
        noise = 0.0 if pair.digital else float(pair.settings.get("noise", 0.0))
        extra = 0.0 if pair.digital else float(pair.settings.get("other", 0.0))
        drop = 1 / (1 + math.exp(-4 * (math.log(noise + 1e-9) + extra)))
        results.append({"accuracy": 0.98 - 0.8 * drop + 0.002 * scatter})
    return results


smooth.metrics = ("accuracy",)  # type: ignore[attr-defined]


def slow(job: Job, control: Control) -> list[dict[str, float]]:
    """As smooth, a tenth of a second a pair, looking up between."""
    for _ in range(5 * len(job.pairs)):
        time.sleep(0.02)
        control.check()
    return smooth(job, control)


def faulty(job: Job, control: Control) -> list[dict[str, float]]:
    """Goes wrong in the way that ``other`` says; only replicate 0, only at noise = 2."""
    for pair in job.pairs:
        if pair.digital or pair.settings["noise"] != 2 or pair.replicate != 0:
            continue
        mode, _, flag = pair.settings["mode"].partition(":")
        # With a file named, only while the file is there.
        if mode == "error" and (not flag or os.path.exists(flag)):
            raise ValueError("a bad point")
        if mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "timeout":
            while True:
                time.sleep(0.01)
                control.check()
        if mode == "hang":
            time.sleep(1000)
        if mode == "nan":
            results = smooth(job, control)
            results[job.pairs.index(pair)] = {"accuracy": math.nan}
            return results
        if mode == "transient" and not os.path.exists(flag):
            with open(flag, "w"):
                pass
            raise OSError("the disk is away for a moment")
    return smooth(job, control)


def broken(job: Job, control: Control) -> list[dict[str, float]]:
    """Always fails the same way."""
    raise RuntimeError("nothing works")


def ishigami(job: Job, control: Control) -> list[dict[str, float]]:
    """A function whose indices of sensitivity are known; the baseline is 1."""
    results = []
    for pair in job.pairs:
        if pair.digital:
            results.append({"accuracy": 1.0})
            continue
        a, b, c = (pair.settings[name] for name in "abc")
        results.append({"accuracy": math.sin(a) + 7 * math.sin(b) ** 2 + 0.1 * c**4 * math.sin(a)})
    return results


def which_gpu(job: Job, control: Control) -> list[dict[str, float]]:
    """The device that the worker sees, as a number."""
    assert job.device == "cuda"
    return [{"accuracy": float(os.environ["CUDA_VISIBLE_DEVICES"]) / 10} for _ in job.pairs]
