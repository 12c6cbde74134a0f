"""`patchebm score --engine ray`: parts as on one machine, though nodes, actors and drivers are killed."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="the extra `scale` is not installed")
pytest.importorskip("pyarrow", reason="the extra `scale` is not installed")

import ray
from ray.cluster_utils import Cluster

from patchebm.errors import ConfigError, PatchebmError
from patchebm.scale.block import Task
from patchebm.scale.fleet_models import FleetModels
from patchebm.scale.fleet_score import begin_fleet, score_fleet
from patchebm.scale.fleet_source import open_fleet_source
from patchebm.scale.local import LocalEngine
from patchebm.scale.model import open_model
from patchebm.scale.plan import Block, blocks_of
from patchebm.scale.ray_engine import RayEngine
from patchebm.scale.score import Begun, begin, score
from patchebm.scale.source import open_source
from tests.scale.deadly import DeadlyFleetTask, DeadlyTask, UnreadableTask
from tests.scale.processes import started
from tests.scale.ray_cluster import cluster_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ROWS = 2400
# Ray takes its time to start on a busy machine.
PATIENCE = 400


@pytest.fixture(scope="module")
def manifest(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of 2400 rows, one in a hundred of which names no file."""
    file = tmp_path_factory.mktemp("source") / "list.csv"
    names = [str(images[i % len(images)]) if i % 100 else f"/gone/{i}.png" for i in range(ROWS)]
    file.write_text("\n".join(["path,n", *(f"{name},{i}" for i, name in enumerate(names))]))
    return file


def begun(manifest: Path, bundle: Path, out: Path) -> Begun:
    predictor, sha256 = open_model(str(bundle))
    return begin(open_source(str(manifest)), predictor, sha256, str(out))


@pytest.fixture(scope="module")
def expected(manifest: Path, bundle_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of it."""
    out = tmp_path_factory.mktemp("local") / "out"
    summary = score(begun(manifest, bundle_file, out), LocalEngine(1))
    assert (summary.images, summary.errors) == (ROWS, ROWS // 100)
    return content_of(out)


def content_of(out: Path) -> dict[str, bytes]:
    """All results, byte by byte: parts that are equal hold the same rows, each once."""
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in out.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes on loopback."""
    with cluster_of(3) as made:
        yield made


def command(manifest: Path, bundle: Path, out: Path, cluster: Cluster) -> list[str]:
    return [
        sys.executable, "-m", "patchebm.cli.main", "score", str(manifest), "--model", str(bundle),
        "--out", str(out), "--engine", "ray", "--address", cluster.address,
    ]  # fmt: skip


def parts(out: Path) -> int:
    return len(list((out / "parts").glob("part-*.parquet")))


def wait_for_parts(out: Path, count: int, driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while parts(out) < count:
        assert driver.poll() is None, driver.stderr.read() if driver.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)


def actors(cluster: Cluster) -> list[int]:
    """The processes of a cluster that score: children of its raylets, whose commands name its address."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if b"ray::MapWorker" in (status.parent / "cmdline").read_bytes():
                parent = status.read_text().rsplit(")", 1)[1].split()[1]
                if cluster.address.encode() in Path(f"/proc/{parent}/cmdline").read_bytes():
                    found.append(int(status.parent.name))
        except OSError:
            continue
    return found


def test_an_actor_and_a_node_are_killed(
    manifest: Path, bundle_file: Path, expected: dict[str, bytes], cluster: Cluster, tmp_path: Path
) -> None:
    with started(command(manifest, bundle_file, tmp_path / "out", cluster)) as driver:
        wait_for_parts(tmp_path / "out", 20, driver)
        os.kill(actors(cluster)[0], signal.SIGKILL)
        wait_for_parts(tmp_path / "out", 60, driver)
        # Not gracefully: its raylet is killed, and its actors with it.
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        _, said = driver.communicate(timeout=PATIENCE)
        assert driver.returncode == 0, said
    assert content_of(tmp_path / "out") == expected


def test_the_driver_is_killed(
    manifest: Path, bundle_file: Path, expected: dict[str, bytes], cluster: Cluster, tmp_path: Path
) -> None:
    with started(command(manifest, bundle_file, tmp_path / "out", cluster)) as driver:
        wait_for_parts(tmp_path / "out", 30, driver)
        driver.kill()
        driver.communicate()
    assert 30 <= parts(tmp_path / "out") < len(expected) - 2
    with started(command(manifest, bundle_file, tmp_path / "out", cluster)) as again:
        _, said = again.communicate(timeout=PATIENCE)
        assert again.returncode == 0, said
    assert "images are left to score" in said
    assert content_of(tmp_path / "out") == expected


def test_what_cannot_work_is_one_sentence(
    manifest: Path, bundle_file: Path, cluster: Cluster, tmp_path: Path
) -> None:
    run: Any = begun(manifest, bundle_file, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"has 0 GPUs and a worker wants 1; set --num-gpus lower"):
        score(run, RayEngine(address=cluster.address, num_gpus=1))
    assert not ray.is_initialized()
    older = dataclasses.replace(run, task=dataclasses.replace(run.task, version="0.0.1"))
    with pytest.raises(PatchebmError, match=r"worker \S+ has patchebm \S+ and the driver 0\.0\.1; install"):
        score(older, RayEngine(address=cluster.address))
    (tmp_path / "out" / "run.json").unlink()
    with pytest.raises(PatchebmError, match=r"does not find .*; give an --out that all machines share"):
        score(run, RayEngine(address=cluster.address))
    assert parts(tmp_path / "out") == 0


def test_no_thread_of_ray_is_at_work_when_it_is_left_early(
    manifest: Path, bundle_file: Path, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was would end this process."""
    run: Any = begun(manifest, bundle_file, tmp_path / "out")
    older = dataclasses.replace(run, task=dataclasses.replace(run.task, version="0.0.1"))
    known, leave, alive = set(threading.enumerate()), ray.shutdown, set()

    def observed() -> None:
        alive.update(thread.name for thread in set(threading.enumerate()) - known)
        leave()

    monkeypatch.setattr(ray, "shutdown", observed)
    with pytest.raises(PatchebmError, match="install"):
        score(older, RayEngine(address=cluster.address))
    # The first two end with Ray, and the third waits for what nobody asks of it.
    assert alive - {"PythonGCThread", "ray_listen_error_messages", "Prefetcher"} == set()
    assert not ray.is_initialized()


def deadly(run: Begun, kind: type[Task], **what: str) -> Begun:
    """A run with work of another kind."""
    task = run.task
    return dataclasses.replace(run, task=kind(task.predictor, task.store, task.run, task.maps, **what))


def test_a_block_that_kills_its_workers_is_given_up_and_all_others_are_scored(
    manifest: Path, bundle_file: Path, expected: dict[str, bytes], cluster: Cluster, tmp_path: Path
) -> None:
    run = begun(manifest, bundle_file, tmp_path / "out")
    engine = RayEngine(address=cluster.address)
    # The first of the ten images of its block.
    sentence = (
        r"^workers died 4 times at the images /gone/500\.png to \S+, for .*; what was scored stays: repair "
        r"or replace the image at fault, or give each worker more memory \(fewer --workers"
    )
    with pytest.raises(PatchebmError, match=sentence):
        score(deadly(run, DeadlyTask, deadly="/gone/500.png"), engine)
    assert parts(tmp_path / "out") == run.plan.parts - 1
    again = begun(manifest, bundle_file, tmp_path / "out")
    assert again.images_left == run.plan.block
    score(again, engine)
    assert content_of(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (DeadlyTask, r"^worker \S+ died 4 times when it started, for .*--workers"),
        (UnreadableTask, r"^Ray stopped \(.*a_module_that_nobody_has"),
    ],
)
def test_what_no_worker_can_start_with_is_one_sentence(
    kind: type[Task], sentence: str, manifest: Path, bundle_file: Path, cluster: Cluster, tmp_path: Path
) -> None:
    run = begun(manifest, bundle_file, tmp_path / "out")
    with pytest.raises(PatchebmError, match=sentence):
        score(deadly(run, kind), RayEngine(1, cluster.address))
    assert parts(tmp_path / "out") == 0


def test_a_product_that_kills_its_workers_leaves_the_others_alone(
    images: list[Path], bundle_file: Path, cluster: Cluster, tmp_path: Path
) -> None:
    for product in ("board", "flange"):
        (tmp_path / "models" / product).mkdir(parents=True)
        shutil.copy(bundle_file, tmp_path / "models" / product / "part.patchebm")
        (tmp_path / "archive" / product).mkdir(parents=True)
        for i, image in enumerate(images):
            shutil.copy(image, tmp_path / "archive" / product / f"{i:02d}.png")
    source, models = open_fleet_source(str(tmp_path / "archive")), FleetModels(str(tmp_path / "models"))
    run = begin_fleet(source, models, str(tmp_path / "out"))
    task = DeadlyFleetTask(run.task.models, run.task.store, deadly="board")
    board, flange = score_fleet(dataclasses.replace(run, task=task), RayEngine(1, cluster.address))
    assert board["error"].startswith(f"workers died 4 times at the images {tmp_path}/archive/board/")
    assert (flange["error"], flange["scored"]) == (None, len(images))


def test_a_round_of_blocks_is_in_memory_at_a_time(
    manifest: Path, bundle_file: Path, expected: dict[str, bytes], cluster: Cluster, tmp_path: Path
) -> None:
    run = begun(manifest, bundle_file, tmp_path / "out")
    taken, done = 0, 0

    def blocks() -> Iterator[Block]:
        nonlocal taken
        for block in blocks_of(run.source, run.plan):
            taken += 1
            yield block

    engine = RayEngine(address=cluster.address, blocks_at_a_time=100)
    with closing(engine.score(run.task, blocks())) as finished:
        for _ in finished:
            done += 1
            # Whole rounds are taken, and none before the one before it is done.
            assert taken == min(100 * -(-done // 100), run.plan.parts)
    assert done == run.plan.parts == 240
    score(begun(manifest, bundle_file, tmp_path / "out"), LocalEngine(1))
    assert content_of(tmp_path / "out") == expected


def test_ray_on_this_machine(
    manifest: Path, bundle_file: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    summary = score(begun(manifest, bundle_file, tmp_path / "out"), RayEngine(2))
    assert summary.images == ROWS
    assert content_of(tmp_path / "out") == expected
