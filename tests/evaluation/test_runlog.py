"""A log that a kill cannot harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchebm.errors import PatchebmError
from patchebm.evaluation.runlog import RunLog


def test_runs_come_back_in_order(tmp_path: Path) -> None:
    rows = [{"set": f"é{i}", "value": i / 3} for i in range(4)]
    log = RunLog(tmp_path / "new" / "log.jsonl")
    assert log.rows == []
    for row in rows[:2]:
        log.keep(row)
    again = RunLog(log.file)
    assert again.rows == rows[:2]
    for row in rows[2:]:
        again.keep(row)
    assert RunLog(log.file).rows == again.rows == rows
    assert [json.loads(line) for line in log.file.read_text().splitlines()] == rows


def test_a_kill_at_any_byte_of_the_last_line_loses_that_line_alone(tmp_path: Path) -> None:
    whole = RunLog(tmp_path / "whole.jsonl")
    for i in range(3):
        whole.keep({"run": i, "figure": 0.125})
    content = whole.file.read_bytes()
    start = content[:-1].rfind(b"\n") + 1
    for length in range(start, len(content)):
        file = tmp_path / "log.jsonl"
        file.write_bytes(content[:length])
        log = RunLog(file)
        # Whole but for its line break, it is whole.
        before = [0, 1, 2] if length == len(content) - 1 else [0, 1]
        assert [row["run"] for row in log.rows] == before
        assert log.unreadable == (start < length < len(content) - 1)
        # Reading changes nothing: another process may be in the middle of writing.
        assert file.read_bytes() == content[:length]
        log.keep({"run": "new"})
        assert file.read_bytes().startswith(content[:length])
        assert [row["run"] for row in RunLog(file).rows] == [*before, "new"]


@pytest.mark.parametrize("line", [b"{half", b"[1]", b"\xff\xfe", b"nonsense"])
def test_what_is_no_run_does_not_count(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b'{"run": 0}\n' + line + b'\n\n{"run": 1}\n')
    log = RunLog(file)
    assert [row["run"] for row in log.rows] == [0, 1]
    assert log.unreadable == 1


def test_two_may_share_a_log(tmp_path: Path) -> None:
    one, two = RunLog(tmp_path / "log.jsonl"), RunLog(tmp_path / "log.jsonl")
    for i in range(3):
        one.keep({"by": "one", "run": i})
        two.keep({"by": "two", "run": i, "longer": "x" * 50})
    rows = RunLog(one.file).rows
    assert [row["by"] for row in rows] == ["one", "two"] * 3
    assert one.rows == rows[::2]


def test_a_place_that_cannot_be_written_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PatchebmError, match=r"cannot write .*log\.jsonl: .*choose another folder"):
        RunLog(tmp_path / "file" / "log.jsonl")
    log = RunLog(tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        log.keep({"figure": float("nan")})
    assert log.file.read_bytes() == b""
    assert log.rows == []
