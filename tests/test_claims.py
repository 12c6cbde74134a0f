"""What the thesis claims, on the built-in products and the real preset: each level sees its own defects."""

from __future__ import annotations

from pathlib import Path

import pytest

from patchebm.config_parser import load_preset
from patchebm.data.folders import open_image_set
from patchebm.data.synthetic import write_synthetic_set
from patchebm.detector import EnsembleDetector
from patchebm.evaluation.evaluate import evaluate


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_patch_level_sees_local_and_image_level_global_defects(tmp_path: Path) -> None:
    root = write_synthetic_set(tmp_path, "flange", train=60, test_good=20, per_defect=6)
    image_set = open_image_set(root)
    detector = EnsembleDetector(load_preset("pixel-cpu")).fit([p.path for p in image_set.train])
    levels = evaluate(detector, image_set).figures["levels"]

    def auroc(level: str, kind: str) -> float:
        return float(levels[level]["per_kind"][kind]["image_auroc"])

    assert auroc("patch", "local") > auroc("image", "local") + 0.05
    assert auroc("image", "global") > auroc("patch", "global") + 0.05
    best = max(levels["patch"]["image_auroc"], levels["image"]["image_auroc"])
    assert levels["ensemble"]["image_auroc"] > best - 0.01
    assert levels["ensemble"]["image_auroc"] > 0.85
