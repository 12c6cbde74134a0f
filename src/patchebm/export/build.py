"""From a fitted detector to a bundle that was compared with it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchebm.detector.detector import EnsembleDetector
from patchebm.errors import ConfigError, ExportError
from patchebm.export.card import build_card
from patchebm.export.parity import Parity, compare, hard_images
from patchebm.features.extractor import FeatureExtractor
from patchebm.runtime.bundle import Bundle, write_bundle
from patchebm.runtime.bundle_predictor import BundlePredictor
from patchebm.runtime.engines import open_engine
from patchebm.runtime.openvino_engine import offers_bf16, require_openvino
from patchebm.runtime.probe import measured_probe

FORMATS = ("onnx", "openvino")
PRECISIONS = ("f32", "bf16", "int8")


@dataclass(frozen=True)
class Built:
    """A bundle that is not written yet.

    Attributes:
        bundle: as it would be read.
        parity: how far it is from its detector.
    """

    bundle: Bundle
    parity: Parity

    def write(self, path: str | Path) -> None:
        """Write it, atomically. Raises PatchebmError if the file cannot be written."""
        write_bundle(path, self.bundle.card, self.bundle.members)


def build_bundle(
    detector: EnsembleDetector,
    *,
    verify: Sequence[Path],
    form: str = "onnx",
    precision: str | None = None,
    figures: Mapping[str, Any] | None = None,
) -> Built:
    """Export a detector, and compare the result with it.

    Args:
        detector: fitted, on features.
        verify: images to compare on; hard versions of some are compared, too.
        form: `onnx` or `openvino`.
        precision: that of the training, `f32` or `int8`, which None stands for; or, of a model that was
            trained at f32, `bf16` with OpenVINO on a CPU that has it.
        figures: of an evaluation, for the card; see `build_card`.

    Raises:
        ConfigError: the detector cannot be exported, a package is not installed, or the precision is not
            offered here, or not that of the training.
        ExportError: the bundle is out of tolerance; says by how much.
    """
    check_target(form, precision)
    precision = _precision(detector, form, precision)
    if not verify:
        raise ConfigError("no images to compare on; name some with --verify")
    members = _members(detector, form)
    card = build_card(detector, form=form, precision=precision, figures=figures)
    bundle = Bundle("the exported bundle", card, members)
    engine = open_engine(bundle)
    predictor = BundlePredictor(bundle, engine)
    parity = compare(detector.predict, predictor.predict, hard_images(verify, detector.decoding_))
    complaint = parity.complaint(precision)
    if complaint is not None:
        raise ExportError(
            f"the {form} {precision} bundle does not score as its detector: {complaint} "
            f"({parity.describe()}); nothing was written, "
            f"export {'with --precision f32' if precision == 'bf16' else 'it as onnx'}"
        )
    card["parity"] = parity.record()
    if precision == "int8":
        card["graph"]["probe"] = measured_probe(engine, predictor.size)
    return Built(bundle, parity)


def check_target(form: str, precision: str | None) -> None:
    """Refuse what cannot be computed here, before any work is done.

    Raises:
        ConfigError: an unknown format or precision, or one that this machine does not offer.
    """
    if form not in FORMATS or precision not in (None, *PRECISIONS):
        raise ConfigError(
            f"--format {form} --precision {precision} is not known; use {', '.join(FORMATS)} and "
            f"{', '.join(PRECISIONS)}"
        )
    if precision == "bf16":
        if form == "onnx":
            raise ConfigError("ONNX Runtime does not compute in bf16 on CPUs; add --format openvino")
        if not offers_bf16(require_openvino().Core()):
            raise ConfigError(
                "this CPU does not compute in bf16, so that parity cannot be looked at; use --precision f32, "
                "or export on a CPU with AVX512_BF16 or AMX"
            )
    if form == "openvino":
        require_openvino()


def require_features(detector: EnsembleDetector) -> FeatureExtractor:
    """Return what gives a detector its features.

    Raises:
        ConfigError: it has none, and cannot be exported.
        PatchebmError: it is not fitted.
    """
    detector.require_fitted()
    inputs = detector.scorer_.inputs
    if not isinstance(inputs, FeatureExtractor):
        raise ConfigError("a model of pixels cannot be exported; train with the preset features")
    return inputs


def _precision(detector: EnsembleDetector, form: str, asked: str | None) -> str:
    """Return the precision of the bundle. Raises ConfigError where that of the training forbids it."""
    trained = require_features(detector).config.precision
    asked = asked or trained
    if trained == "int8" and form != "onnx":
        raise ConfigError(
            f"the model was trained at int8 by ONNX Runtime, and {form} rounds otherwise; export it with "
            "--format onnx, or train with --precision f32"
        )
    if (asked == "int8") != (trained == "int8"):
        raise ConfigError(
            f"the model was trained at {trained} and would not score the same at {asked}; leave --precision "
            f"out, or train with --precision {'int8' if asked == 'int8' else 'f32'}"
        )
    return asked


def _members(detector: EnsembleDetector, form: str) -> dict[str, bytes]:
    size = require_features(detector).size
    try:
        from patchebm.export.graph import onnx_bytes, onnx_model
    except ImportError as error:
        raise ConfigError(f"export needs {error.name}; run `pip install 'patchebm[export]'`") from error
    content = onnx_bytes(onnx_model(copy.deepcopy(detector.scorer_).cpu(), size))
    if form == "onnx":
        return {"graph.onnx": content}
    from patchebm.export.openvino_file import openvino_files

    return openvino_files(content)
