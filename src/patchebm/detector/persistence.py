"""A fitted detector as a model folder, and back."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from patchebm.config.base import RunConfig
from patchebm.config.build import build_config
from patchebm.config.features import FeaturesConfig
from patchebm.detector.detector import EnsembleDetector
from patchebm.detector.level import under
from patchebm.detector.modelfile import load_model, save_model
from patchebm.detector.scorer import PixelInputs, Scorer
from patchebm.detector.surround import Surround
from patchebm.errors import ConfigError, ModelFileError
from patchebm.features.framing import Framing
from patchebm.features.quantised_backbone import QuantisedBackbone
from patchebm.images.decoding import Decoding
from patchebm.runtime.calibration import Calibration
from patchebm.runtime.expectation import SyntheticDefects
from patchebm.runtime.onnx_engine import OnnxEngine

if TYPE_CHECKING:
    from torch import Tensor

    from patchebm.features.backbone import Backbone


# Tensors that hold the bytes of a quantised backbone, and of what prepares images for it.
GRAPH, PREPARING = "backbone.graph", "backbone.preparing"


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
    if detector.synthetic_defects_ is not None:
        facts["synthetic_defects"] = detector.synthetic_defects_.to_dict()
    tensors: dict[str, Tensor] = {}
    if isinstance(scorer.inputs, PixelInputs):
        facts["channels"] = scorer.inputs.channels
    else:
        backbone = scorer.inputs.backbone
        facts["framing"] = scorer.inputs.framing.to_dict()
        facts["backbone"] = {"name": backbone.name, "sha256": backbone.sha256}
        if isinstance(backbone, QuantisedBackbone):
            facts["backbone"] |= backbone.facts()
            assert scorer.inputs.preparing is not None
            tensors[GRAPH] = _tensor(backbone.graph)
            tensors[PREPARING] = _tensor(scorer.inputs.preparing.graph)
    if scorer.weights is not None:
        facts["normal"]["weights"] = scorer.weights.cpu().tolist()
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
    fitted_on = facts.get("backbone", {})
    # What it computes by is in the file, and nothing else is needed.
    quantised, preparing = _quantised(config, fitted_on, tensors, file)
    target = detector.target_device()
    inputs = detector.build_inputs(framing=framing, backbone=quantised)
    if detector.backbone is not None and detector.backbone.sha256 != fitted_on.get("sha256"):
        raise ModelFileError(
            f"{file} was fitted on the backbone {fitted_on.get('name')} "
            f"with other weights than those of {detector.backbone.name} here; install that version of the "
            "weights, or hand your own backbone to load"
        )
    try:
        if isinstance(inputs, PixelInputs):
            inputs.channels = int(facts["channels"])
        else:
            inputs.preparing = preparing
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
        # Models from before these were kept have none.
        detector.decoding_ = Decoding.from_dict(facts.get("decoding"))
        detector.synthetic_defects_ = SyntheticDefects.from_dict(facts.get("synthetic_defects"))
    except Exception as error:
        raise ModelFileError(
            f"{file} does not fit its tensors ({type(error).__name__}: {error}); "
            "copy or train the model again"
        ) from error
    return detector


def _tensor(content: bytes) -> Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _quantised(
    config: RunConfig, facts: dict[str, Any], tensors: dict[str, Tensor], file: Path
) -> tuple[QuantisedBackbone, OnnxEngine] | tuple[None, None]:
    """Return the backbone in int8 that a model was fitted on, and what prepares images for it."""
    if not isinstance(config, FeaturesConfig) or config.features.precision != "int8":
        return None, None
    try:
        graph, preparing = (tensors[name].numpy().tobytes() for name in (GRAPH, PREPARING))
        backbone = QuantisedBackbone.from_facts(graph, config.features.blocks, facts)
        return backbone, OnnxEngine(preparing, torch.get_num_threads(), f"{file}, what prepares images")
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{file} lacks what its backbone in int8 needs ({type(error).__name__}: {error}); copy or train "
            "the model again"
        ) from error
