"""`patchebm doctor` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchebm.cli.main import main
from tests.cli.test_cli import failure


def test_the_machine_in_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    words = capsys.readouterr().out
    for name in ("processor", "memory", "onnxruntime", "openvino", "torch", "bf16", "int8"):
        assert name in words
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"patchebm", "hardware", "runtimes", "precisions", "advice"} == set(facts)


def test_a_model_is_measured(bundle_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(bundle_file), "--json"]) == 0
    speeds = json.loads(capsys.readouterr().out)["speed"]
    assert speeds[0]["threads"] == 1
    for speed in speeds:
        # A process that has to start and load takes longer and more than this.
        assert speed["first_verdict_s"] > 0.1
        assert speed["score_ms"] > 0.1
        assert speed["read_ms"] > 0.01
        assert speed["memory_mb"] > 40


def test_what_cannot_be_measured_is_one_sentence_below_the_facts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nowhere.png" in failure(capsys, "doctor", str(tmp_path), str(tmp_path / "nowhere.png"))
    capsys.readouterr()
    (tmp_path / "no-bundle").write_text("no bundle")
    for name, words in (("no-bundle", "no bundle"), ("nothing", "does not exist")):
        assert main(["doctor", str(tmp_path / name)]) == 2
        told = capsys.readouterr()
        assert "processor" in told.out
        assert name in told.err
        assert words in told.err
        assert "Traceback" not in told.err
