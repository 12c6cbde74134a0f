"""Killed with SIGKILL while images arrive: none lost, none scored twice."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.watch.killing import Camera, tally, watch_and_kill, watch_command
from patchebm.loading import load
from tests.tiny import flanges


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def kill_test(bundle: Path, folder: Path, files: int, seed: int) -> None:
    contents = [png(image) for image in flanges(30)]
    # Slow enough that images still arrive when the last watcher is killed.
    camera = Camera(folder / "in", contents, files, pause=0.06, seed=seed)
    command = watch_command(folder / "in", bundle, folder / "out", "--poll", "0.05", "--settle", "0.5")
    results = folder / "out" / "results.jsonl"
    camera.start()
    at = watch_and_kill(command, results, camera, kills=5, seed=seed, timeout=500)
    assert len(at) == 5
    assert at[0] < files
    assert tally(results, camera.names) == {
        "files": files, "records": files, "lost": 0, "twice": 0, "foreign": 0, "unreadable": 0,
        "missing_in_csv": 0,
    }  # fmt: skip
    # And every score is that of its image.
    expected = load(bundle).predict([folder / "in" / name for name in camera.names[:30]], heat_maps=False)
    scores = {r["image"]: r["score"] for r in map(json.loads, results.read_text().splitlines())}
    for i, name in enumerate(camera.names):
        assert scores[name] == pytest.approx(expected[i % 30].score, abs=1e-4)


@pytest.mark.timeout(600)
def test_killed_five_times_nothing_is_lost_or_scored_twice(bundle_file: Path, tmp_path: Path) -> None:
    kill_test(bundle_file, tmp_path, files=150, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_five_times_with_many_files(bundle_file: Path, tmp_path: Path, seed: int) -> None:
    kill_test(bundle_file, tmp_path, files=1500, seed=seed)
