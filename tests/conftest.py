"""What several tests share: where the real image sets are, and models that are fitted once a session."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from patchebm.cli.main import main
from patchebm.detector import EnsembleDetector
from patchebm.export.build import build_bundle
from patchebm.images.folders import find_images
from tests.tiny import flanges, tiny_config, tiny_features, write_set

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
    """A synthetic set on disk in MVTec AD layout."""
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="session")
def images(data: Path) -> list[Path]:
    """The test images of `data`."""
    return find_images([str(data / "test")])


@pytest.fixture(scope="session")
def fitted() -> EnsembleDetector:
    """A detector on features; tests leave it as it is."""
    return EnsembleDetector(tiny_features()).fit(flanges(9))


@pytest.fixture(scope="session")
def fitted_pixels() -> EnsembleDetector:
    """A detector on pixels; tests leave it as it is."""
    return EnsembleDetector(tiny_config()).fit(flanges(9))


@pytest.fixture(scope="session")
def model_folder(fitted: EnsembleDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of `fitted`; tests that change them copy them first."""
    folder = tmp_path_factory.mktemp("model")
    fitted.save(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_yaml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_features` as a file for `--config`."""
    file = tmp_path_factory.mktemp("config") / "tiny.yaml"
    # Through JSON, in which tuples are lists.
    file.write_text(yaml.safe_dump(json.loads(json.dumps(asdict(tiny_features())))))
    return file


@pytest.fixture(scope="session")
def run_folder(data: Path, tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `patchebm train` wrote on `data`; tests that change it copy it first."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", str(data), "--out", str(out), "--config", str(tiny_yaml)]) == 0
    return out


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
    """The same for OpenVINO."""
    file = tmp_path_factory.mktemp("openvino") / "part.patchebm"
    build_bundle(fitted, verify=images, form="openvino").write(file)
    return file
