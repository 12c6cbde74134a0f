"""What a model can be expected to find is said by every command that gives verdicts, at its own threshold."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from patchebm.cli.main import main
from tests.cli.test_few import FAST
from tests.tiny import write_good

SENTENCE = re.compile(
    r"at a false-alarm rate of (\S+) this model finds about (\d+) in 100 of the synthetic [^\n]*"
)
Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_good(tmp_path_factory.mktemp("parts"), 12)


@pytest.fixture(scope="module")
def run(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", str(parts), "--out", str(folder), "--false-alarm-rate", "0.2", *FAST]) == 0
    return folder


def told(capsys: Said, *command: str) -> tuple[float, int, str]:
    """Returns rate, share and the sentence that a command says, which it says once."""
    capsys.readouterr()
    assert main(list(command)) == 0
    printed = capsys.readouterr()
    found = list(SENTENCE.finditer(printed.out + printed.err))
    assert len(found) == 1
    return float(found[0][1]), int(found[0][2]), found[0][0]


def test_predict_calibrate_and_evaluate_say_what_train_said(
    run: Path, parts: Path, tmp_path: Path, capsys: Said
) -> None:
    first = told(capsys, "predict", str(run), str(parts))
    assert first[0] == 0.2
    test = tmp_path / "test"
    shutil.copytree(parts, test / "good")
    shutil.copytree(parts, test / "scratched")
    report = tmp_path / "report"
    assert told(capsys, "evaluate", str(run), str(test), "--report", str(report)) == first
    page = (report / "report.html").read_text(encoding="utf-8")
    assert f"{first[2][0].upper()}{first[2][1:]}" in page
    assert "The model inspects the whole image" in page
    # A threshold of fewer false alarms finds no more, and it is its own share that is said.
    other = tmp_path / "other"
    stricter = told(capsys, "calibrate", str(run), "--false-alarm-rate", "0.1", "--out", str(other))
    assert stricter[0] == 0.1
    assert stricter[1] <= first[1]
    assert told(capsys, "predict", str(other), str(parts)) == stricter
    # Back again, it is what it was.
    assert told(capsys, "calibrate", str(other), "--false-alarm-rate", "0.2") == first


def test_after_a_calibration_on_other_images_nothing_is_promised(
    run: Path, tmp_path: Path, capsys: Said
) -> None:
    other, new = tmp_path / "other", write_good(tmp_path / "new", 20)
    for known in sorted(new.iterdir())[:12]:
        known.unlink()
    assert main(["calibrate", str(run), str(new), "--out", str(other)]) == 0
    assert main(["predict", str(other), str(new)]) == 0
    said = capsys.readouterr()
    assert "this model finds about" not in said.out + said.err


def test_an_exported_model_says_it_too(run: Path, parts: Path, tmp_path: Path, capsys: Said) -> None:
    pytest.importorskip("onnx", reason="extra export")
    file = tmp_path / "part.patchebm"
    assert main(["export", str(run), "--out", str(file)]) == 0
    assert told(capsys, "predict", str(file), str(parts)) == told(capsys, "predict", str(run), str(parts))
    assert main(["predict", str(file), str(parts)]) == 0
    assert "the model inspects the whole image" in capsys.readouterr().err
