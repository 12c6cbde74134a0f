"""`patchebm watch` as a user runs it."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchebm.cli.main import main
from patchebm.detector import EnsembleDetector
from tests.cli.test_cli import failure
from tests.line.test_webhook import Receiver
from tests.tiny import flanges, tiny_config, write_set

FAST = ["--poll", "0.02", "--settle", "0.05"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    config = tiny_config()
    config.calibration.members = 1
    EnsembleDetector(config).fit(flanges(9)).save(folder)
    return folder


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """A folder with three images."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i, file in enumerate(sorted((write_set(tmp_path / "set") / "test").rglob("*.png"))[:3]):
        shutil.copy(file, folder / f"{i}.png")
    return folder


def watch(folder: Path, run: Path, out: Path, *options: str) -> list[str]:
    return ["watch", str(folder), "--model", str(run), "--out", str(out), *FAST, *options]


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def start(*arguments: str, complaints: Path) -> subprocess.Popen[str]:
    """A watcher in a process of its own; what it says on standard error can be read while it runs."""
    command = [sys.executable, "-m", "patchebm.cli.main", *arguments]
    with complaints.open("w") as stderr:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 250
    while not condition():
        assert process.poll() is None, process.returncode
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_every_image_is_recorded_once_and_as_predict_scores_it(
    run: Path, incoming: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(watch(incoming, run, out, "--once", "--maps")) == 0
    assert main(["predict", str(run), str(incoming), "--json", str(tmp_path / "p.json")]) == 0
    expected = {Path(p["image"]).name: p for p in json.loads((tmp_path / "p.json").read_text())}
    assert {r["image"] for r in records(out)} == set(expected)
    for record in records(out):
        assert record["score"] == pytest.approx(expected[record["image"]]["score"], abs=1e-4)
        assert record["levels"].keys() == {"patch", "image"}
        assert record["region_count"] == expected[record["image"]]["region_count"]
        for region, same in zip(record["regions"], expected[record["image"]]["regions"], strict=True):
            assert region["area"] == pytest.approx(same["area"], abs=2)
            assert region["peak"] == pytest.approx(same["peak"], abs=1e-3)
        assert record["size"] == (incoming / record["image"]).stat().st_size
        with Image.open(out / record["overlay"]) as overlay:
            assert overlay.size[1] == 64
    with (out / "results.csv").open(newline="") as file:
        assert [float(row["score"]) for row in csv.DictReader(file)] == [r["score"] for r in records(out)]
    capsys.readouterr()
    # Again: nothing to do. Touched, copied, with a name of its own: only the last is an image not seen yet.
    assert main(watch(incoming, run, out, "--once")) == 0
    assert "3 images are recorded" in capsys.readouterr().err
    os.utime(incoming / "0.png", ns=(1, 1))
    shutil.copy(incoming / "1.png", incoming / "3.png")
    assert main(watch(incoming, run, out, "--once")) == 0
    assert [r["image"] for r in records(out)[3:]] == ["3.png"]
    # Other content under the same name is a new image.
    shutil.copy(incoming / "2.png", incoming / "0.png")
    assert main(watch(incoming, run, out, "--once")) == 0
    assert [r["image"] for r in records(out)[4:]] == ["0.png"]
    assert len({r["id"] for r in records(out)}) == 5


def test_regions_are_listed_where_they_are_asked_for(
    run: Path, incoming: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without, with_them = tmp_path / "without", tmp_path / "with"
    assert main(watch(incoming, run, without, "--once")) == 0
    assert not any("regions" in record for record in records(without))
    lax = ("--false-pixel-rate", "0.1")
    assert main(watch(incoming, run, with_them, "--once", "--regions", *lax, "--smallest-region", "9")) == 0
    assert sum(record["region_count"] for record in records(with_them)) > 0
    assert all(region["area"] >= 9 for record in records(with_them) for region in record["regions"])
    assert not (with_them / "maps").exists()
    with (with_them / "results.csv").open(newline="") as file:
        counts = [int(row["region_count"]) for row in csv.DictReader(file)]
    assert counts == [record["region_count"] for record in records(with_them)]
    capsys.readouterr()
    assert main(watch(incoming, run, tmp_path / "no", "--once", "--smallest-region", "9")) != 0
    assert "--smallest-region needs --regions or --maps" in capsys.readouterr().err


def test_a_truncated_image_is_an_error_record_and_the_others_are_scored(
    bundle_file: Path, incoming: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (incoming / "1.png").read_bytes()
    (incoming / "1.png").write_bytes(whole[: len(whole) // 2])
    (incoming / "empty.png").touch()
    (incoming / "name\n\udcff.png").write_text("no image")
    out = tmp_path / "out"
    assert main(watch(incoming, bundle_file, out, "--once")) == 0
    told = capsys.readouterr()
    by_name = {r["image"]: r for r in records(out)}
    assert len(by_name) == len(records(out)) == 5
    assert "score" in by_name["0.png"]
    assert "truncated or damaged" in by_name["1.png"]["error"]
    assert "empty (0 bytes)" in by_name["empty.png"]["error"]
    assert "not a PNG" in by_name["name\n\udcff.png"]["error"]
    assert "3 unreadable" in told.err
    assert told.out.count("ERROR") == 3
    assert "name\\n\\udcff.png: " in told.out
    # Its second half comes after all.
    (incoming / "1.png").write_bytes(whole)
    assert main(watch(incoming, bundle_file, out, "--once")) == 0
    assert [r["image"] for r in records(out)[5:]] == ["1.png"]
    assert "score" in records(out)[5]


def test_a_slow_writer_is_waited_for(bundle_file: Path, incoming: Path, tmp_path: Path) -> None:
    content = (incoming / "0.png").read_bytes()
    slow = incoming / "slow.png"

    def write() -> None:
        with slow.open("wb", buffering=0) as file:
            for i in range(0, len(content), len(content) // 4 + 1):
                file.write(content[i : i + len(content) // 4 + 1])
                # Longer than files must be stable, shorter than they may be unreadable, by far.
                time.sleep(0.6)

    thread = threading.Thread(target=write)
    thread.start()
    while not slow.exists():
        time.sleep(0.001)
    assert main(watch(incoming, bundle_file, tmp_path / "out", "--once", "--settle", "0.5")) == 0
    thread.join()
    found = [r for r in records(tmp_path / "out") if r["image"] == "slow.png"]
    assert len(found) == 1
    assert "score" in found[0]


def test_records_reach_a_webhook(bundle_file: Path, incoming: Path, tmp_path: Path) -> None:
    receiver = Receiver()
    out = tmp_path / "out"
    assert main(watch(incoming, bundle_file, out, "--once", "--webhook", receiver.url)) == 0
    receiver.stop()
    assert receiver.taken == records(out)


def test_bad_arguments_are_one_sentence(
    bundle_file: Path, incoming: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert "nowhere does not exist" in failure(capsys, *watch(tmp_path / "nowhere", bundle_file, out))
    assert "watched folder itself" in failure(capsys, *watch(incoming, bundle_file, incoming))
    for option, value in (
        ("--settle", "-1"),
        ("--settle", "nan"),
        ("--poll", "inf"),
        ("--webhook", "ftp://x"),
    ):
        assert option.lstrip("-") in failure(capsys, *watch(incoming, bundle_file, out), option, value)
    assert "0.png is no folder" in failure(capsys, *watch(incoming / "0.png", bundle_file, out))
    assert "no finished model" in failure(capsys, *watch(incoming, tmp_path / "in", out))
    assert "nothing does not exist" in failure(capsys, *watch(incoming, tmp_path / "nothing", out))
    assert "threads 0" in failure(capsys, *watch(incoming, bundle_file, out), "--threads", "0")
    assert not out.exists()


def test_it_waits_for_images_folder_and_room_and_stops_cleanly(
    bundle_file: Path, incoming: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    stderr = tmp_path / "stderr"
    process = start(*watch(incoming, bundle_file, out), complaints=stderr)
    try:
        results = out / "results.jsonl"
        wait_until(lambda: results.exists() and len(records(out)) == 3, process)
        assert "another watcher" in failure(capsys, *watch(incoming, bundle_file, out))
        # The share goes and comes back.
        incoming.rename(tmp_path / "away")
        wait_until(lambda: "waiting for it" in stderr.read_text(), process)
        (tmp_path / "away").rename(incoming)
        # The disk is full, in the middle of a record, and is freed.
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        full = results.stat().st_size + 50
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
        shutil.copy(incoming / "0.png", incoming / "late.png")
        wait_until(lambda: results.stat().st_size == full, process)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)
        wait_until(lambda: results.read_bytes().count(b"\n") == 4, process)
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate()
    finally:
        process.kill()
        process.wait()
    complaints = stderr.read_text()
    assert process.returncode == 0, complaints
    assert [r["image"] for r in records(out)] == ["0.png", "1.png", "2.png", "late.png"]
    assert told.count("late.png") == 1
    for words in (
        "waiting for it",
        "can be read again",
        "free some space",
        "can be written again",
        "stopped: 4",
    ):
        assert complaints.count(words) == 1, complaints
    assert "Traceback" not in complaints


def test_ctrl_c_ends_it_cleanly(bundle_file: Path, incoming: Path, tmp_path: Path) -> None:
    stderr = tmp_path / "stderr"
    process = start(*watch(incoming, bundle_file, tmp_path / "out"), complaints=stderr)
    try:
        # The signal may come at any time from here on.
        wait_until(lambda: (tmp_path / "out" / "results.jsonl").exists(), process)
        process.send_signal(signal.SIGINT)
        process.communicate()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, stderr.read_text()
    assert "stopped: " in stderr.read_text()


def test_once_ends_although_files_keep_coming_and_changing(
    bundle_file: Path, incoming: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = [file.read_bytes() for file in sorted(incoming.iterdir())]
    stop = threading.Event()

    def write() -> None:
        count = 0
        while not stop.wait(0.01):
            count += 1
            # As a camera that shows its latest image, and one that never ends a file.
            (tmp_path / "next").write_bytes(contents[count % 3])
            (tmp_path / "next").replace(incoming / "latest.png")
            with (incoming / "endless.bmp").open("ab") as file:
                file.write(b"BM")
            (incoming / f"new{count}.png").write_bytes(contents[0])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while not (incoming / "new1.png").exists():
            time.sleep(0.01)
        assert main(watch(incoming, bundle_file, tmp_path / "out", "--once", "--settle", "0.2")) == 0
    finally:
        stop.set()
        thread.join()
    found = records(tmp_path / "out")
    assert {"0.png", "1.png", "2.png", "latest.png"} <= {r["image"] for r in found}
    assert all("score" in r for r in found)
    told = capsys.readouterr().err
    assert told.count("latest.png is replaced before it has settled") == 1
    assert "endless.bmp never stopped changing" in told


def test_other_content_of_the_same_name_size_and_time_is_scored(bundle_file: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(np.full((64, 64, 3), 100 + i, np.uint8)).save(folder / "a.bmp")
        os.utime(folder / "a.bmp", ns=(0, 10**9))
        assert main(watch(folder, bundle_file, out, "--once")) == 0
    first, second = records(out)
    assert (first["size"], first["mtime_ns"]) == (second["size"], second["mtime_ns"])
    assert first["sha256"] != second["sha256"]
    # Nothing changed: nothing is scored again, in this run and the next.
    assert main(watch(folder, bundle_file, out, "--once")) == 0
    assert len(records(out)) == 2
