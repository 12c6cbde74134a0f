"""A plant with several products, and the models that `patchebm fleet train` makes of it, once a session."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from patchebm.cli.main import main
from tests.tiny import write_good, write_set


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A product with tests, one with good images alone and a copy among them, and one with too few; names as
    people have them."""
    folder = tmp_path_factory.mktemp("plant")
    write_set(folder / "made").rename(folder / "flange <b>")
    good = write_good(folder / "good alone" / "good", 8)
    shutil.copy(good / "003.png", good / "copy.png")
    write_good(folder / "too few" / "good", 1)
    (folder / "made").rmdir()
    return folder


@pytest.fixture(scope="session")
def fleet(plant: Path, tiny_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of `plant`; tests that change them copy them first. One product failed."""
    pytest.importorskip("pyarrow", reason="the extra `scale` is not installed")
    out = tmp_path_factory.mktemp("fleet") / "out"
    assert main(["fleet", "train", str(plant), "--out", str(out), "--config", str(tiny_yaml)]) == 2
    return out
