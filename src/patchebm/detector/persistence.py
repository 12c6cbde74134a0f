"""A fitted detector as a model folder, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from patchebm.config.parser import build_config
from patchebm.detector.detector import EnsembleDetector
from patchebm.detector.modelfile import load_model, save_model
from patchebm.errors import ConfigError, ModelFileError
from patchebm.features.backbone import Backbone
from patchebm.runtime.tail import Tail


def save_detector(detector: EnsembleDetector, folder: str | Path, card: dict[str, Any] | None = None) -> None:
    """Write a fitted detector; see `EnsembleDetector.save`."""
    facts: dict[str, Any] = {
        "channels": detector.channels_,
        "config": asdict(detector.config),
        "false_alarm_rate": detector.threshold_.false_alarm_rate,
        "normal_mean": detector.mean_,
        "normal_std": detector.std_,
        "heat": [detector.heat_low_, detector.heat_high_],
        "levels": {},
        "card": card or {},
    }
    if detector.backbone is not None:
        facts["backbone"] = {"name": detector.backbone.name, "sha256": detector.backbone.sha256}
    tensors = {
        "normal_scores": torch.from_numpy(detector.tail_.scores),
        "normal_weights": torch.from_numpy(detector.tail_.weights),
    }
    if detector.region is not None:
        tensors["region"] = detector.region
    for name, level in detector.levels_.items():
        facts["levels"][name], own = level.state()
        tensors |= {f"{name}.{key}": tensor for key, tensor in own.items()}
    save_model(folder, facts, tensors)


def load(folder: str | Path, backbone: Backbone | None = None, device: str = "auto") -> EnsembleDetector:
    """The detector that `save` wrote to a folder.

    Args:
        folder: a run folder.
        backbone: the feature extractor that it was fitted with, if that was one of your own.
        device: what computes.

    Raises:
        ConfigError: the backbone is not installed; says how to install it.
        ModelFileError: missing, truncated, altered, of another version, or inconsistent; says which.
    """
    if device not in ("auto", "cpu"):
        raise ConfigError(f"device {device} is not offered yet; use cpu")
    facts, tensors = load_model(folder)
    try:
        config = build_config(facts["config"])
    except (ConfigError, KeyError) as error:
        raise ModelFileError(f"{Path(folder) / 'model.json'} has a bad configuration: {error}") from error
    detector = EnsembleDetector(config, backbone)
    detector.open_features()
    fitted_on = facts.get("backbone", {})
    if detector.backbone is not None and detector.backbone.sha256 != fitted_on.get("sha256"):
        raise ModelFileError(
            f"{Path(folder) / 'model.json'} was fitted on the backbone {fitted_on.get('name')} "
            f"with other weights than those of {detector.backbone.name} here; install that version of the "
            "weights, or hand your own backbone to load"
        )
    try:
        detector.card_ = dict(facts["card"])
        detector.channels_ = int(facts["channels"])
        detector.tail_ = Tail(tensors["normal_scores"].numpy(), tensors["normal_weights"].numpy())
        detector.threshold_ = detector.tail_.threshold(float(facts["false_alarm_rate"]))
        detector.mean_, detector.std_ = float(facts["normal_mean"]), float(facts["normal_std"])
        detector.heat_low_, detector.heat_high_ = map(float, facts["heat"])
        detector.region = tensors.get("region")
        detector.levels_ = {}
        for name in detector.level_names:
            if name not in facts["levels"]:
                continue
            level = detector.level(name)
            prefix = f"{name}."
            own = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
            level.restore(facts["levels"][name], own)
            detector.levels_[name] = level
    except Exception as error:
        raise ModelFileError(
            f"{Path(folder) / 'model.json'} does not fit its tensors ({type(error).__name__}: {error}); "
            "copy or train the model again"
        ) from error
    return detector
