"""From what a study file names to what it is: devices, noise models, data, functions."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sim.errors import FitlabError
from studies.configure import configured
from studies.design import Study, _close

__all__ = ["Found", "data_digest", "data_folder", "find_device", "places_of_functions"]

# Noise of the usual size on the weights of every mini-batch; base.set and factors change it.
_AWARE = {"modifier.type": "ADD_NORMAL", "modifier.std_dev": 0.1}


@dataclass(frozen=True)
class Found:
    """Configuration of a named device, what it is, its files, standard errors of its fields, and steps as they were measured."""

    config: Any
    about: dict[str, Any]
    files: list[Path]
    errors: dict[str, float]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    measured: dict[str, tuple[float, str]] = field(default_factory=dict)


def find_device(study: Study, inputs: Path | None, name: str | None, algorithm: str) -> Found:
    from sim.configs import build_config

    if study.document.base.kind != "training":
        found = _noise_model(study, inputs, name)
        aware = study.document.base.kind == "hardware-aware"
        return dataclasses.replace(found, config=configured(found.config, _AWARE)) if aware else found
    name = str(name)
    if name.endswith(".toml") or "/" in name or "\\" in name:
        path = _input(study, name, inputs)
        import fitlab.parameters

        parameters = fitlab.parameters.load(path)
        device: Any = parameters.to_device()
        errors, intervals = _standard_errors(parameters), _intervals(parameters)
        return Found(build_config(algorithm, device), _about(device), [path], errors, intervals, _measured(parameters))
    import sim.devices
    import sim.presets

    models = sim.devices.models()
    known = [*sim.presets.names("device"), *models]
    if name not in known:
        raise FitlabError(
            f"{name!r} is not the name of a preset device or a model{_close(name, known)} Or give a parameter set (.toml)"
        )
    device = models[name]() if name in models else sim.presets.get(name)()
    return Found(build_config(algorithm, device), _about(device), [], {})


def _noise_model(study: Study, inputs: Path | None, name: str | None) -> Found:
    """Inference on devices with a noise model: the default one, one by name, or one fitted to retention."""
    import sim.inference.noise as models
    from sim.configs import InferenceRPUConfig, from_toml

    if name is None:
        config = InferenceRPUConfig()
        return Found(config, _about(config.noise_model), [], {})
    if name.endswith(".toml"):
        path = _input(study, name, inputs)
        model: Any = from_toml(path.read_text(encoding="utf-8-sig"))
        if not isinstance(model, models.BaseNoiseModel):
            raise FitlabError(f"{path}: is no noise model; make one with: fitlab fit FILE.csv --kind retention -o {name}")
        return Found(InferenceRPUConfig(noise_model=model), _about(model), [path], {})
    known = [n for n in models.__all__ if n.endswith("NoiseModel") and not n.startswith(("Base", "Relative", "Measured"))]
    if name not in known:
        raise FitlabError(f"{name!r} is not the name of a noise model{_close(name, known)} A fitted one is given as a .toml file")
    model = getattr(models, name)()
    return Found(InferenceRPUConfig(noise_model=model), _about(model), [], {})


def _about(device: Any) -> dict[str, Any]:
    """What the device is, not where it came from: a remark added to its file changes no result."""
    return {"model": type(device).__name__, **device.to_dict()}


def _input(study: Study, name: str, inputs: Path | None) -> Path:
    places = [] if inputs is None else [inputs / Path(name).name]
    places.append(study.source.parent / name)
    found = next((p for p in places if p.is_file()), None)
    if found is None:
        raise FitlabError(f"{name!r} is not there (looked for {places[-1]}); make it with: fitlab fit FILE.csv -o {name}")
    return found


def _standard_errors(parameters: Any) -> dict[str, float]:
    """Path -> standard error, for the fitted fields that have one."""
    estimates = {**parameters.parameters, **parameters.dtod}
    return {
        f"device.{name}": estimate.error
        for name, estimate in estimates.items()
        if estimate.error is not None and name in parameters.device.fields
    }


def _intervals(parameters: Any) -> dict[str, tuple[float, float]]:
    """Path -> 95 % interval, for the fitted fields whose interval the parameter set gives itself."""
    estimates = {**parameters.parameters, **parameters.dtod}
    return {
        f"device.{name}": (estimate.low, estimate.high)
        for name, estimate in estimates.items()
        if estimate.low is not None and estimate.high is not None and name in parameters.device.fields
    }


def _measured(parameters: Any) -> dict[str, tuple[float, str]]:
    """Fields that are differences of weights -> a weight of 1 in the measured quantity, where it is proportional to weights."""
    weight = parameters.weight
    if weight.scale != "linear":
        return {}
    size = (weight.high - weight.low) / 2
    return dict.fromkeys(("device.dw_min", "forward.w_noise", "backward.w_noise"), (size, weight.unit))


def places_of_functions(study: Study) -> tuple[str, ...]:
    """Folders with functions of the user: that of the study file, or that of the folder that holds the study."""
    folder = study.source.absolute().parent
    return (str(folder.parent),) if (folder / "resolved.json").exists() else (str(folder),)


def data_folder(study: Study, data: str | None) -> str | None:
    given = data or study.document.base.data
    if given is None:
        return None
    path = Path(given)
    return str(path if path.is_absolute() or data else (study.source.parent / path).resolve())


def data_digest(task: str, folder: str | None, fault: Any) -> str:
    if ":" in task:
        return ""
    from studies.data import fingerprint

    try:
        return fingerprint(task.split("-")[0], folder)
    except FitlabError as error:
        raise fault(error) from None
