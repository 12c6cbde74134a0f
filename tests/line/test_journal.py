"""Results that survive being torn anywhere."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from patchebm.errors import DataError, PatchebmError
from patchebm.line.journal import Journal, Record
from patchebm.line.watch import FileState

SHA = "ab" * 32


def record(name: str, size: int = 7, sha256: str | None = SHA) -> Record:
    return {
        "id": f"id-{name}",
        "time": "2026-01-01T00:00:00.000+00:00",
        "image": name,
        "size": size,
        "mtime_ns": 5,
        "sha256": sha256,
        "model": "run",
        "score": 1.5,
        "anomalous": False,
        "threshold": 2.0,
        "levels": {"patch": 1.0, "image": 2.0},
    }


def names(folder: Path) -> list[str]:
    return [json.loads(line)["image"] for line in (folder / "results.jsonl").read_text().splitlines()]


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_records_are_known_again(tmp_path: Path) -> None:
    strange = ["a.png", 'quote",comma.png', "line\nbreak.png", "not-unicode-\udcff.png"]
    with Journal(tmp_path) as journal:
        journal.append([record(name) for name in strange[:2]])
        journal.append([record(name) for name in strange[2:]])
    with Journal(tmp_path) as journal:
        assert len(journal) == 4
        assert journal.cut == 0
        for name in strange:
            assert journal.knows(name, FileState(7, 5))
            assert not journal.knows(name, FileState(7, 6))
        assert journal.is_same("a.png", FileState(7, 6), SHA)
        assert journal.knows("a.png", FileState(7, 6))
        assert not journal.is_same("a.png", FileState(7, 8), "cd" * 32)
    assert names(tmp_path) == strange
    assert [row["image"] for row in rows(tmp_path)] == [*strange[:3], "not-unicode-\\udcff.png"]
    assert rows(tmp_path)[0]["score_image"] == "2.0"
    assert list(rows(tmp_path)[0]) == [
        *("time", "image", "anomalous", "score", "threshold", "tail_probability", "extrapolated"),
        *("score_patch", "score_image", "region_count", "overlay", "error", "model", "id"),
    ]


def test_every_level_of_the_model_has_a_column(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append([record("a.png")])
        journal.append([record("b.png") | {"levels": {"patch": 1.5, "fine": 3.0}}])
        journal.append([record("c.png")])
        assert [(row["score_image"], row["score_fine"]) for row in rows(tmp_path)] == [
            ("2.0", ""),
            ("", "3.0"),
            ("2.0", ""),
        ]
    with Journal(tmp_path):
        assert [row["score_patch"] for row in rows(tmp_path)] == ["1.0", "1.5", "1.0"]


def test_what_could_not_be_opened_is_tried_again_after_a_restart(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append([record("a.png", sha256=None), record("b.png"), record("b.png", 8, sha256=None)])
        assert journal.knows("a.png", FileState(7, 5)), "this watcher has given it up"
        assert journal.knows("b.png", FileState(8, 5))
    with Journal(tmp_path) as journal:
        assert not journal.knows("a.png", FileState(7, 5))
        assert not journal.knows("b.png", FileState(8, 5))
        assert journal.knows("b.png", FileState(7, 5)), "what was scored before is still known"
    assert names(tmp_path) == ["a.png", "b.png", "b.png"]


def test_torn_at_any_byte_the_whole_lines_remain(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append([record("a.png"), record("b.png")])
    data = (tmp_path / "results.jsonl").read_bytes()
    table = (tmp_path / "results.csv").read_bytes()
    # Near the ends of lines every byte, elsewhere every fifth: each start syncs the disk.
    ends = [0, data.index(b"\n"), len(data)]
    lengths = {n for n in range(len(data) + 1) if n % 5 == 0 or min(abs(n - end) for end in ends) < 5}
    for length in sorted(lengths):
        (tmp_path / "results.jsonl").write_bytes(data[:length])
        (tmp_path / "results.csv").write_bytes(table[: length // 2])
        with Journal(tmp_path) as journal:
            whole = data[:length].count(b"\n")
            assert len(journal) == whole
            journal.append([record(name) for name in ("a.png", "b.png")[whole:]])
        assert (tmp_path / "results.jsonl").read_bytes() == data
        assert (tmp_path / "results.csv").read_bytes() == table


def test_what_a_power_cut_leaves_at_the_end_is_cut_off(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append([record("a.png")])
    data = (tmp_path / "results.jsonl").read_bytes()
    for tail in (b"\0" * 300, b"\0\0\n", b'{"id": 1}\n', b"[]\n", b"\xff\xfe\n"):
        (tmp_path / "results.jsonl").write_bytes(data + tail)
        with Journal(tmp_path) as journal:
            assert journal.cut == len(tail)
        assert (tmp_path / "results.jsonl").read_bytes() == data


def test_a_bad_line_amid_others_is_named_and_kept(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.append([record("a.png")])
    data = (tmp_path / "results.jsonl").read_bytes()
    (tmp_path / "results.jsonl").write_bytes(data + b"mine\n" + data)
    with pytest.raises(DataError, match=r"results.jsonl line 2 is no record"):
        Journal(tmp_path)
    assert (tmp_path / "results.jsonl").read_bytes() == data + b"mine\n" + data
    # The refused journal holds no lock.
    (tmp_path / "results.jsonl").write_bytes(data)
    Journal(tmp_path).close()


def test_a_second_watcher_is_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from patchebm.line.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); print('locked', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(DataError, match=rf"another watcher \(process {other.pid}\)"):
            Journal(tmp_path)
        other.kill()
        other.wait()
    Journal(tmp_path).close()


def test_a_journal_that_was_moved_away_is_noticed(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.check()
        (tmp_path / "results.jsonl").rename(tmp_path / "old.jsonl")
        with pytest.raises(DataError, match="moved or deleted"):
            journal.check()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PatchebmError, match="file"):
        Journal(tmp_path / "file")
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(PatchebmError, match=r"results\.jsonl"):
        Journal(tmp_path)


def test_no_room_leaves_nothing_half_written(tmp_path: Path) -> None:
    # A limit on the size of files fails a write in its middle, as a full disk does.
    code = """
import resource, sys
from pathlib import Path
from patchebm.line.journal import Journal
from patchebm.errors import PatchebmError
from tests.line.test_journal import record
folder = Path(sys.argv[1])
with Journal(folder) as journal:
    journal.append([record("a.png")])
    size = journal.end
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
    for _ in range(3):
        try:
            journal.append([record("b.png"), record("c.png")])
        except PatchebmError as error:
            print(error)
        assert journal.end == size
        assert not journal.knows("b.png", (7, 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.append([record("b.png"), record("c.png")])
    # Now the table alone: somebody made it larger than the limit.
    with (folder / "results.csv").open("rb+") as file:
        file.truncate(1_000_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, resource.RLIM_INFINITY))
    journal.append([record("d.png")])
    assert (folder / "results.csv").stat().st_size == 1_000_000
    journal.append([record("e.png")])
    print((folder / "results.csv").read_text().count("png"))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.count("free some space") == 3
    assert done.stdout.endswith("\n10\n"), "five names and five ids"
    assert names(tmp_path) == [f"{letter}.png" for letter in "abcde"]
    assert [row["image"] for row in rows(tmp_path)] == names(tmp_path)
