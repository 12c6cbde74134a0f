"""A fitted detector as a model folder, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from patchebm.config.build import build_config
from patchebm.config.features import FeaturesConfig
from patchebm.detector.detector import EnsembleDetector
from patchebm.detector.level import under
from patchebm.detector.modelfile import load_model, save_model
from patchebm.detector.scorer import PixelInputs, Scorer
from patchebm.detector.surround import Surround
from patchebm.device import resolve_device
from patchebm.errors import ConfigError, ModelFileError
from patchebm.features.framing import Framing
from patchebm.images.decoding import Decoding
from patchebm.runtime.calibration import Calibration

if TYPE_CHECKING:
    from torch import Tensor

    from patchebm.features.backbone import Backbone


def save_detector(detector: EnsembleDetector, folder: str | Path, card: dict[str, Any] | None = None) -> None:
    """Write a fitted detector; see `EnsembleDetector.save`."""
    detector.require_fitted()
    scorer = detector.scorer_
    facts: dict[str, Any] = {
        "config": asdict(detector.config),
        "calibration": detector.calibration_.to_dict(),
        "decoding": detector.decoding_.to_dict(),
        "normal": {"mean": float(scorer.mean), "std": float(scorer.std)},
        "card": card or {},
    }
    if isinstance(scorer.inputs, PixelInputs):
        facts["channels"] = scorer.inputs.channels
    else:
        facts["framing"] = scorer.inputs.framing.to_dict()
    if scorer.weights is not None:
        facts["normal"]["weights"] = scorer.weights.cpu().tolist()
    if detector.backbone is not None:
        facts["backbone"] = {"name": detector.backbone.name, "sha256": detector.backbone.sha256}
    tensors: dict[str, Tensor] = {}
    if detector.region is not None:
        tensors["region"] = detector.region
    for name, level in detector.levels_.items():
        tensors |= {f"{name}.{key}": tensor for key, tensor in level.state().items()}
    if scorer.surround is not None:
        tensors |= {f"surround.{key}": tensor for key, tensor in scorer.surround.state().items()}
    save_model(folder, facts, tensors)


def load(
    folder: str | Path, backbone: Backbone | None = None, *, device: str | torch.device = "auto"
) -> EnsembleDetector:
    """Open the detector that `save` wrote to a folder.

    Args:
        folder: a run folder.
        backbone: the feature extractor that it was fitted with, if that was one of your own.
        device: where it scores; as for `EnsembleDetector`.

    Raises:
        ConfigError: the backbone is not installed, or there is no such device; says what to do.
        ModelFileError: missing, truncated, altered, of another version, or inconsistent; says which.
    """
    facts, tensors = load_model(folder)
    file = Path(folder) / "model.json"
    try:
        config = build_config(facts["config"])
    except (ConfigError, KeyError) as error:
        raise ModelFileError(f"{file} has a bad configuration: {error}") from error
    detector = EnsembleDetector(config, backbone, device=device)
    try:
        framing = Framing.from_dict(facts["framing"]) if isinstance(config, FeaturesConfig) else None
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{file} has a bad framing ({error}); copy or train the model again") from error
    inputs = detector.build_inputs(framing=framing)
    fitted_on = facts.get("backbone", {})
    if detector.backbone is not None and detector.backbone.sha256 != fitted_on.get("sha256"):
        raise ModelFileError(
            f"{file} was fitted on the backbone {fitted_on.get('name')} "
            f"with other weights than those of {detector.backbone.name} here; install that version of the "
            "weights, or hand your own backbone to load"
        )
    target = resolve_device(device)
    try:
        if isinstance(inputs, PixelInputs):
            inputs.channels = int(facts["channels"])
        inputs.region = tensors.get("region")
        levels = {name: detector.build_level(name, inputs) for name in config.levels}
        for name, level in levels.items():
            level.restore(under(f"{name}.", tensors))
        normal = facts["normal"]
        weights = torch.tensor(normal["weights"]) if "weights" in normal else None
        mean, std = float(normal["mean"]), float(normal["std"])
        surround = None
        if around := under("surround.", tensors):
            assert framing is not None
            surround = Surround(framing.box)
            surround.restore(around)
        detector.scorer_ = Scorer(inputs, levels, mean, std, weights, surround).to(target)
        detector.calibration_ = Calibration.from_dict(facts["calibration"])
        detector.card_ = dict(facts["card"])
        # Models from before this was kept have none.
        detector.decoding_ = Decoding.from_dict(facts.get("decoding"))
    except Exception as error:
        raise ModelFileError(
            f"{file} does not fit its tensors ({type(error).__name__}: {error}); "
            "copy or train the model again"
        ) from error
    return detector
