"""What the thesis claims, on the built-in products and the real preset: each level sees its own defects."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchebm.config.presets import load_preset
from patchebm.detector import EnsembleDetector
from patchebm.evaluation.evaluate import evaluate
from patchebm.images.folders import open_image_set
from patchebm_products import write_synthetic_set


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_patch_level_sees_local_and_image_level_global_defects(tmp_path: Path) -> None:
    root = write_synthetic_set(tmp_path, "flange", train=60, test_good=20, per_defect=6)
    image_set = open_image_set(root)
    detector = EnsembleDetector(load_preset("pixel-cpu")).fit([p.path for p in image_set.train])
    levels = evaluate(detector, image_set)["levels"]

    def auroc(level: str, kind: str) -> float:
        return float(levels[level]["per_kind"][kind]["image_auroc"])

    assert auroc("patch", "local") > auroc("image", "local") + 0.05
    assert auroc("image", "global") > auroc("patch", "global") + 0.05
    best = max(levels["patch"]["image_auroc"], levels["image"]["image_auroc"])
    assert levels["ensemble"]["image_auroc"] > best - 0.01
    assert levels["ensemble"]["image_auroc"] > 0.85


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_features_see_both_kinds_of_defects_and_refinement_does_no_harm(tmp_path: Path) -> None:
    root = write_synthetic_set(tmp_path, "flange", train=60, test_good=20, per_defect=5)
    image_set = open_image_set(root)
    config = load_preset("features")
    detector = EnsembleDetector(config).fit([p.path for p in image_set.train])
    figures = evaluate(detector, image_set)
    assert figures["image_auroc"] > 0.93
    assert figures["pixel_auroc"] > 0.85
    assert figures["aupro"] > 0.85
    # Without the network the score is another one, and no better.
    config.position.network = None
    fitted = EnsembleDetector(config).fit([p.path for p in image_set.train])
    assert evaluate(fitted, image_set)["image_auroc"] < figures["image_auroc"] + 0.005
