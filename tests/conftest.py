"""What several tests share: where the real image sets are, and small real images."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from patchebm.detector import EnsembleDetector
from patchebm.export.build import build_bundle
from patchebm.images.folders import find_images
from tests.tiny import flanges, tiny_features, write_set

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real image sets; skips the test where they are absent."""
    root = Path(os.environ.get("PATCHEBM_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "bottle").is_dir():
        pytest.skip(f"no real image sets in {root} (set PATCHEBM_DATA)")
    return root


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="session")
def images(data: Path) -> list[Path]:
    return find_images([str(data / "test")])


@pytest.fixture(scope="session")
def fitted() -> EnsembleDetector:
    return EnsembleDetector(tiny_features()).fit(flanges(9))


@pytest.fixture(scope="session")
def levels(fitted: EnsembleDetector) -> dict[str, EnsembleDetector]:
    """The fitted ensemble, and each of its levels as a detector of its own."""
    alone = {}
    for name, level in fitted.levels_.items():
        detector = EnsembleDetector(replace(fitted.config, levels=[name]), fitted.backbone)
        detector.__dict__ |= {k: v for k, v in fitted.__dict__.items() if k != "config"}
        detector.levels_ = {name: level}
        alone[name] = detector
    return {"ensemble": fitted, **alone}


@pytest.fixture(scope="session")
def bundle_file(
    fitted: EnsembleDetector, images: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An exported model that loads and scores fast."""
    file = tmp_path_factory.mktemp("bundle") / "part.patchebm"
    build_bundle(fitted, verify=images).write(file)
    return file


@pytest.fixture(scope="session")
def openvino_file(
    fitted: EnsembleDetector, images: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    file = tmp_path_factory.mktemp("openvino") / "part.patchebm"
    build_bundle(fitted, verify=images, form="openvino").write(file)
    return file
