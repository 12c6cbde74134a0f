"""`patchebm fleet train --engine ray`: the models of one machine, though the driver is killed."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra `scale` is not installed")
pytest.importorskip("pyarrow", reason="the extra `scale` is not installed")

from ray.cluster_utils import Cluster

from patchebm.cli.main import main
from patchebm.errors import PatchebmError
from patchebm.scale import ray_fleet
from tests.failing import failure
from tests.scale.lacking import LackingProduct
from tests.scale.processes import started
from tests.scale.ray_cluster import cluster_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# Ray takes its time to start on a busy machine.
PATIENCE = 400
PRODUCTS = ["flange <b>", "good alone"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One node with one core: products are made one after another."""
    with cluster_of(1) as made:
        yield made


def table(out: Path) -> list[dict[str, str]]:
    with (out / "fleet.csv").open(encoding="utf-8", newline="") as file:
        return [row | {"seconds": ""} for row in csv.DictReader(file)]


def arguments(plant: Path, out: Path, tiny_yaml: Path, address: str) -> list[str]:
    return [
        "fleet", "train", str(plant), "--out", str(out), "--products", *PRODUCTS, "--config", str(tiny_yaml),
        "--engine", "ray", "--address", address,
    ]  # fmt: skip


def test_the_driver_is_killed_and_each_product_is_made_once(
    fleet: Path, plant: Path, tiny_yaml: Path, cluster: Cluster, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "patchebm.cli.main", *arguments(plant, out, tiny_yaml, cluster.address)]
    with started(command) as driver:
        deadline = time.monotonic() + PATIENCE
        # One is finished, and another has begun.
        while not list(out.glob("*/result.json")) or len(list(out.glob("*/files.json"))) < 2:
            assert driver.poll() is None, driver.stderr.read() if driver.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.02)
        driver.kill()
        driver.communicate()
    (result,) = out.glob("*/result.json")
    made = {file: file.stat().st_mtime_ns for file in result.parent.rglob("*") if file.is_file()}
    with started(command) as again:
        _, said = again.communicate(timeout=PATIENCE)
        assert again.returncode == 0, said
    assert {file: file.stat().st_mtime_ns for file in result.parent.rglob("*") if file.is_file()} == made
    assert table(out) == table(fleet)[:2]


def test_a_worker_of_another_version_makes_nothing(
    plant: Path,
    tiny_yaml: Path,
    cluster: Cluster,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_fleet, "__version__", "0.0.1")
    command = arguments(plant, tmp_path / "out", tiny_yaml, cluster.address)
    assert "and the driver 0.0.1; install the same version" in failure(capsys, *command)
    assert not list((tmp_path / "out").glob("*/files.json"))


def test_a_worker_that_lacks_a_package_makes_nothing(plant: Path, cluster: Cluster, tmp_path: Path) -> None:
    product = LackingProduct("a", plant / "good alone", tmp_path / "out", (), (), 1, main, lambda argv: [])
    with pytest.raises(PatchebmError, match=r"^worker \S+ lacks a_module_that_nobody_has; install it with: "):
        list(ray_fleet.RayFleet(1, cluster.address, 1, 0).do([product]))
    assert not (tmp_path / "out").exists()
