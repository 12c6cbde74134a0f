"""One small fitted detector, and its bundles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from patchebm.data.folders import find_images
from patchebm.deploy.export import build_bundle
from patchebm.detector import EnsembleDetector
from tests.tiny import flanges, tiny_features, write_set


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="session")
def pictures(data: Path) -> list[Path]:
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
    fitted: EnsembleDetector, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    file = tmp_path_factory.mktemp("bundle") / "part.patchebm"
    build_bundle(fitted, verify=pictures).write(file)
    return file
