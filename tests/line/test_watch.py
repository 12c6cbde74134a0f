"""Which files of a folder count as finished images."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from patchebm.line import watch as module
from patchebm.line.watch import PATIENCE, RESTLESS, Arrival, FileState, FolderWatch

SETTLE = 0.05


class Known:
    """A journal's part: what is recorded."""

    def __init__(self) -> None:
        self.states: dict[str, FileState] = {}
        self.said: list[str] = []

    def __call__(self, name: str, state: FileState) -> bool:
        return self.states.get(name) == state

    def watch(self, folder: Path, settle: float = SETTLE, skip: Path | None = None) -> FolderWatch:
        return FolderWatch(folder, settle=settle, known=self, say=self.said.append, skip=skip)


def settled(watch: FolderWatch) -> list[Arrival]:
    watch.scan()
    time.sleep(1.5 * SETTLE)
    return watch.scan()


def test_only_finished_images_are_found_in_the_order_of_writing(tmp_path: Path) -> None:
    names = ["b.png", "a.JPG", "sub/deep/c.tiff", "side.part.png"]
    left_out = [".hidden.png", "~lock.png", "x.png.part", "x.tmp", "x.tmp.png", "text.txt", ".cache/y.png"]
    for i, name in enumerate([*names, *left_out]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, ns=(0, 1000 - i))
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "link.png").symlink_to(tmp_path / "b.png")
    found = settled(Known().watch(tmp_path))
    assert [arrival.name for arrival in found] == [
        "side.part.png",
        "sub/deep/c.tiff",
        "a.JPG",
        "b.png",
        "link.png",
    ]


def test_a_growing_file_is_waited_for(tmp_path: Path) -> None:
    watch = Known().watch(tmp_path)
    file = tmp_path / "a.png"
    deadline = time.monotonic() + 4 * SETTLE
    while time.monotonic() < deadline:
        with file.open("ab") as stream:
            stream.write(b"x")
        assert watch.scan() == []
    assert watch.waiting == {"a.png"}
    time.sleep(1.5 * SETTLE)
    assert [arrival.state.size for arrival in watch.scan()] == [file.stat().st_size]


def test_a_file_rewritten_at_the_same_size_is_waited_for(tmp_path: Path) -> None:
    watch = Known().watch(tmp_path)
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    assert watch.scan() == []
    time.sleep(1.5 * SETTLE)
    file.write_bytes(b"y")
    assert watch.scan() == []


def test_what_is_recorded_is_found_again_only_if_it_changes(tmp_path: Path) -> None:
    known = Known()
    watch = known.watch(tmp_path)
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    (arrival,) = settled(watch)
    known.states["a.png"] = arrival.state
    assert settled(watch) == []
    assert not watch.waiting
    file.write_bytes(b"xy")
    assert [a.name for a in settled(watch)] == ["a.png"]


def test_what_cannot_be_read_is_tried_again_at_growing_distances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A clock of its own: how busy the machine is must not decide when a try is due.
    clock = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock))
    watch = Known().watch(tmp_path, settle=1)
    (tmp_path / "a.png").write_bytes(b"x")
    tries = []
    for clock in range(2 * PATIENCE):
        for arrival in watch.scan():
            tries.append((clock, watch.give_up(arrival)))
        if tries and tries[-1][1]:
            break
    assert tries == [(1, False), (2, False), (4, False), (8, False), (PATIENCE, True)]


def test_a_folder_that_vanishes_is_waited_for(tmp_path: Path) -> None:
    known = Known()
    folder = tmp_path / "share"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.png").write_bytes(b"x")
    watch = known.watch(folder)
    assert len(settled(watch)) == 1
    folder.rename(tmp_path / "away")
    for _ in range(3):
        assert watch.scan() == []
        assert watch.gone
    assert len(known.said) == 1
    assert str(folder) in known.said[0]
    assert "waiting" in known.said[0]
    (tmp_path / "away").rename(folder)
    assert [a.name for a in settled(watch)] == ["sub/a.png"]
    assert not watch.gone
    assert "again" in known.said[1]


def test_results_below_the_folder_are_no_images(tmp_path: Path) -> None:
    for name in ("out/maps/a_heat.png", "other/out/b.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")
    watch = Known().watch(tmp_path, skip=tmp_path / "out")
    assert [a.name for a in settled(watch)] == ["other/out/b.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_sub_folder_that_may_not_be_read_is_named_once(tmp_path: Path) -> None:
    known = Known()
    (tmp_path / "locked").mkdir(mode=0)
    watch = known.watch(tmp_path)
    settled(watch)
    assert len(known.said) == 1
    assert "locked" in known.said[0]


def test_ten_thousand_recorded_files_are_looked_through_fast(tmp_path: Path) -> None:
    known = Known()
    for i in range(10_000):
        (tmp_path / f"{i}.png").touch()
    watch = known.watch(tmp_path, settle=0)
    for arrival in watch.scan():
        known.states[arrival.name] = arrival.state
    began = time.process_time()
    assert watch.scan() == []
    # Some 60 ms on an idle machine.
    assert time.process_time() - began < 1.0


def test_a_file_that_is_replaced_without_rest_is_read_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock))
    watch = Known().watch(tmp_path, settle=1)
    file = tmp_path / "latest.png"
    ready = []
    for i in range(10):
        clock = 0.5 * i
        (tmp_path / "next.tmp").write_bytes(b"x" * (5 + i))
        (tmp_path / "next.tmp").replace(file)
        ready.append([arrival.restless for arrival in watch.scan()])
    assert ready == [[]] * (2 * RESTLESS) + [[True]] * (10 - 2 * RESTLESS)
    # One that settles after all is an ordinary one.
    clock += 1
    watch.scan()
    clock += 1
    assert [arrival.restless for arrival in watch.scan()] == [False]


def test_a_file_that_only_grows_is_never_read_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock))
    watch = Known().watch(tmp_path, settle=1)
    for i in range(4 * PATIENCE):
        clock = 0.5 * i
        (tmp_path / "a.bmp").write_bytes(b"x" * (5 + i))
        assert watch.scan() == []
        assert watch.never_settles("a.bmp") == (clock >= PATIENCE)


def test_linked_folders_are_watched_and_masks_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("archive/a.png", "in/ground_truth/cut/b.png", "in/sub/c.png", "in/d.raw", "in/e.raw"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (folder / "linked").symlink_to(tmp_path / "archive")
    (folder / "again").symlink_to(folder / "sub")
    (tmp_path / "archive" / "up").symlink_to(tmp_path)
    known = Known()
    watch = known.watch(folder)
    assert {a.name for a in settled(watch)} == {"linked/a.png", "sub/c.png"}
    assert len(known.said) == 3
    assert any("links to what is watched" in sentence for sentence in known.said)
    assert any("folders of masks" in sentence for sentence in known.said)
    assert any("'.raw'" in sentence for sentence in known.said)


def test_what_was_written_is_known_by_the_clock_of_the_file_system(tmp_path: Path) -> None:
    """Cameras and copying programs set the time of a file to what they like."""
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    os.utime(file, ns=(0, 1000))
    before = FileState.of(file)
    time.sleep(0.02)
    file.write_bytes(b"y")
    os.utime(file, ns=(0, 1000))
    after = FileState.of(file)
    assert (after.size, after.mtime_ns) == (before.size, before.mtime_ns)
    assert not after.is_recorded_as(before)
    assert after.is_recorded_as(FileState(1, 1000)), "records of older versions do not know it"
