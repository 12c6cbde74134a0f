"""What a bundle is made of, and what is not exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import patchebm
from patchebm.detector import EnsembleDetector
from patchebm.detector.scorer import Scorer, Scores
from patchebm.errors import ConfigError, ExportError, PatchebmError
from patchebm.export import parity
from patchebm.export.build import build_bundle, check_target
from patchebm.export.graph import onnx_bytes, onnx_model
from patchebm.export.quantise import quantised
from patchebm.images.reading import read_image
from patchebm.runtime.onnx_engine import OnnxEngine
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


def test_int8_is_in_the_wide_pointwise_convolutions_alone_and_scores_nearly_the_same(
    fitted: EnsembleDetector, images: list[Path]
) -> None:
    model = quantised(onnx_model(fitted.scorer_, (64, 64)), images)
    made_by = {output: node for node in model.graph.node for output in node.output}
    shapes = {one.name: tuple(one.dims) for one in model.graph.initializer}
    constants = {
        node.output[0]: tuple(node.attribute[0].t.dims)
        for node in model.graph.node
        if node.op_type == "Constant"
    }
    kinds: dict[str, set[tuple[int, ...]]] = {"int8": set(), "f32": set()}
    for node in model.graph.node:
        if node.op_type == "Conv":
            maker = made_by.get(node.input[1])
            if maker is not None and maker.op_type == "DequantizeLinear":
                kinds["int8"].add(shapes[maker.input[0]])
            else:
                kinds["f32"].add((shapes | constants)[node.input[1]])
    assert kinds["int8"]
    assert all(shape[2:] == (1, 1) and max(shape) >= 200 for shape in kinds["int8"])
    # What scores the features, 176 channels in, and the depthwise convolutions are as they were.
    assert {(256, 176, 1, 1), (176, 176, 1, 1), (480, 1, 5, 5), (32, 3, 3, 3)} <= kinds["f32"]
    engine = OnnxEngine(onnx_bytes(model), 1, "int8")
    for image in images[:4]:
        expected = fitted.score([image])[0]
        found = engine.run(read_image(image)[None], ["score"])["score"][0]
        assert found != expected
        # In standard deviations of nine good images both may differ; less than a tenth of the way to noise.
        noise = np.random.default_rng(0).random(read_image(image).shape, dtype=np.float32)
        assert abs(found - expected) < 0.1 * (fitted.score([noise])[0] - expected)


def test_int8_that_moves_scores_too_much_is_refused(
    fitted: EnsembleDetector, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """How far int8 moves a score depends on the model; here it may not move it at all."""
    monkeypatch.setattr(parity, "MAX_TYPICAL_DIFFERENCE", 0.0)
    with pytest.raises(
        ExportError, match=r"onnx int8 bundle does not score as its detector: .* --precision f32"
    ):
        build_bundle(fitted, verify=images, training=images, precision="int8")


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
    with pytest.raises(ConfigError, match="int8 needs good images"):
        build_bundle(fitted, verify=images, precision="int8")
