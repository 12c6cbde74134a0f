"""What a bundle is made of, and what is not exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import patchebm
from patchebm.detector import EnsembleDetector
from patchebm.detector.scorer import Scorer, Scores
from patchebm.errors import ConfigError, ExportError, PatchebmError
from patchebm.export.build import build_bundle, check_target
from tests.tiny import tiny_features

ROOT = Path(__file__).parents[2]


def test_exporting_twice_gives_the_same_bytes_and_the_card_says_what_is_documented(
    fitted: EnsembleDetector, images: list[Path], bundle_file: Path, tmp_path: Path
) -> None:
    build_bundle(fitted, verify=images).write(tmp_path / "again.patchebm")
    assert (tmp_path / "again.patchebm").read_bytes() == bundle_file.read_bytes()
    card = patchebm.load(bundle_file).card  # type: ignore[attr-defined]
    documented = (ROOT / "docs" / "bundle-format.md").read_text(encoding="utf-8")
    for key in card:
        assert f"`{key}`" in documented or f"`{key}." in documented, key
    assert card["parity"]["verdict_flips"] == 0
    assert card["figures"] is None
    assert str(ROOT) not in json.dumps(card)


def test_the_card_tells_nothing_of_who_trained(
    fitted: EnsembleDetector, images: list[Path], tmp_path: Path
) -> None:
    fitted.save(
        tmp_path,
        {
            "image_set": "flange",
            "images": 9,
            "command": ["patchebm", "train", "/home/me"],
            "root": "/home/me",
        },
    )
    card = build_bundle(patchebm.load(tmp_path), verify=images[:1]).bundle.card  # type: ignore[arg-type]
    assert card["trained_on"] == {"image_set": "flange", "images": 9}
    assert "/home/me" not in json.dumps(card)


def test_what_does_not_score_as_its_detector_is_refused(
    fitted: EnsembleDetector, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph of a module that is off: the numbers are in the sentence."""
    original = Scorer.score

    def off(
        self: Scorer, prepared: torch.Tensor, thumbnails: torch.Tensor | None = None, *, maps: bool = True
    ) -> Scores:
        found = original(self, prepared, thumbnails, maps=maps)
        return found._replace(score=found.score + 0.05 * torch.onnx.is_in_onnx_export())

    monkeypatch.setattr(Scorer, "score", off)
    with pytest.raises(
        ExportError, match=r"scores differ by more than 0\.01 .*scores differ by 0\.05 at most"
    ):
        build_bundle(fitted, verify=images)


def test_what_cannot_be_exported_is_refused(fitted_pixels: EnsembleDetector, images: list[Path]) -> None:
    with pytest.raises(PatchebmError, match="not fitted"):
        build_bundle(EnsembleDetector(tiny_features()), verify=images)
    with pytest.raises(
        ConfigError, match="model of pixels cannot be exported; train with the preset features"
    ):
        build_bundle(fitted_pixels, verify=images)


def test_precisions_that_are_not_offered_say_so(fitted: EnsembleDetector, images: list[Path]) -> None:
    import openvino

    from patchebm.runtime.openvino_engine import offers_bf16

    with pytest.raises(ConfigError, match="add --format openvino"):
        check_target("onnx", "bf16")
    with pytest.raises(ConfigError, match="is not known"):
        check_target("onnx", "f16")
    if not offers_bf16(openvino.Core()):
        with pytest.raises(ConfigError, match="does not compute in bf16"):
            check_target("openvino", "bf16")
    with pytest.raises(ConfigError, match="no images to compare on"):
        build_bundle(fitted, verify=[])
    with pytest.raises(ConfigError, match=r"trained at f32 .* or train with --precision int8"):
        build_bundle(fitted, verify=images, precision="int8")
