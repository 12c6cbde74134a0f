"""A log that a kill cannot harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchebm.errors import DataError, PatchebmError
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
        assert [row["run"] for row in log.rows] == [0, 1]
        # Reading changes nothing: another process may be in the middle of writing.
        assert file.read_bytes() == content[:length]
        log.keep({"run": "new"})
        assert [row["run"] for row in RunLog(file).rows] == [0, 1, "new"]


@pytest.mark.parametrize("line", [b"{half", b"", b"[1]", b"\xff\xfe"])
def test_what_is_no_run_is_named_with_its_line(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b'{"run": 0}\n' + line + b'\n{"run": 1}\n')
    with pytest.raises(DataError, match=r"log\.jsonl line 2 is no .*remove that line"):
        RunLog(file)


def test_a_place_that_cannot_be_written_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(PatchebmError, match=r"cannot write .*log\.jsonl: .*choose another folder"):
        RunLog(tmp_path / "file" / "log.jsonl")
    log = RunLog(tmp_path / "log.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        log.keep({"figure": float("nan")})
    assert log.file.read_bytes() == b""
    assert log.rows == []
