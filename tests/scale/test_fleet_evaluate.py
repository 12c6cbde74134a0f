"""`patchebm fleet evaluate`: figures of each product's model, as `patchebm evaluate` measures them alone."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

pq = pytest.importorskip("pyarrow.parquet", reason="the extra `scale` is not installed")

from patchebm.cli.main import main  # noqa: E402
from tests.failing import failure  # noqa: E402
from tests.tiny import write_good  # noqa: E402


def lines(out: Path) -> dict[str, dict]:
    return {row["product"]: row for row in pq.read_table(out / "fleet.parquet").to_pylist()}


@pytest.fixture(scope="module")
def evaluated(fleet: Path, plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluated") / "out"
    # A product has no model.
    assert main(["fleet", "evaluate", str(plant), "--models", str(fleet), "--out", str(out)]) == 2
    return out


def test_figures_are_those_of_each_product_alone(
    evaluated: Path, fleet: Path, plant: Path, tmp_path: Path
) -> None:
    found = lines(evaluated)
    assert list(found) == ["flange <b>", "good alone", "too few"]
    bundle, data = fleet / "flange <b>" / "part.patchebm", plant / "flange <b>"
    assert main(["evaluate", str(bundle), str(data), "--json", str(tmp_path / "alone.json")]) == 0
    alone = json.loads((tmp_path / "alone.json").read_text())
    line = found["flange <b>"]
    assert line["auroc"] == alone["image_auroc"]
    assert (line["good_tested"], line["defects_tested"]) == (alone["good_count"], alone["anomalous_count"])
    assert line["observed_alarms"] == alone["false_alarm_count"]
    assert line["defects_missed"] == alone["miss_count"]
    assert line["threshold"] == alone["calibration"]["value"]
    assert line["expected_alarms"] == pytest.approx(0.05 * alone["good_count"])


def test_what_cannot_be_measured_concerns_no_other(evaluated: Path, fleet: Path) -> None:
    found = lines(evaluated)
    untested, missing = found["good alone"], found["too few"]
    assert (untested["error"], untested["good_tested"], untested["auroc"]) == (None, None, None)
    assert missing["error"] == f"{fleet} has no model of the product 'too few'; train it or leave it out"
    page = (evaluated / "fleet.html").read_text()
    assert "3 of 3 products are done; 1 of them failed" in page
    assert f"<li>too few: {fleet} has no model" in page
    assert len((evaluated / "fleet.csv").read_text().splitlines()) == 4


def test_changed_products_and_models_are_measured_again(fleet: Path, plant: Path, tmp_path: Path) -> None:
    root = tmp_path / "plant"
    for name in ("a", "b"):
        shutil.copytree(plant / "flange <b>", root / name)
    models, out = tmp_path / "models", tmp_path / "out"
    # One as a bundle beside others, one as a run.
    shutil.copytree(fleet / "flange <b>" / "run", models / "b" / "run")
    shutil.copy(fleet / "flange <b>" / "part.patchebm", models / "a.patchebm")
    command = ["fleet", "evaluate", str(root), "--models", str(models), "--out", str(out)]
    assert main(command) == 0
    results = [out / name / "result.json" for name in ("a", "b")]

    def again() -> list[str]:
        before = [file.stat().st_mtime_ns for file in results]
        assert main(command) == 0
        return [
            file.parent.name
            for file, time in zip(results, before, strict=True)
            if file.stat().st_mtime_ns != time
        ]

    assert again() == []
    write_good(root / "b" / "test" / "good", 4)
    assert again() == ["b"]
    assert [line["good_tested"] for line in lines(out).values()] == [3, 4]
    (models / "a.patchebm").touch()
    assert again() == ["a"]


def test_what_is_not_installed_is_said_before_the_first_product(
    fleet: Path,
    plant: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    command = ["fleet", "evaluate", str(plant), "--models", str(fleet), "--out", str(tmp_path / "out")]
    sentence = failure(capsys, *command)
    assert "this machine lacks sklearn; install it with: pip install 'patchebm[scale,train]'" in sentence
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_sentence(
    evaluated: Path, fleet: Path, plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fleet", "evaluate", str(plant), "--models", str(fleet), "--out"]
    new = str(tmp_path / "out")
    assert "unknown option '--false-alarm-rat' (did you mean '--false-alarm-rate'?)" in failure(
        capsys, *command, new, "--false-alarm-rat", "1"
    )
    assert "--report is not for a fleet" in failure(capsys, *command, new, "--report", "x")
    (tmp_path / "empty").mkdir()
    assert "holds no models" in failure(
        capsys, *command[:3], "--models", str(tmp_path / "empty"), "--out", new
    )
    assert "was made by `patchebm fleet train`" in failure(capsys, *command, str(fleet))
    assert "was made with other options (none)" in failure(capsys, *command, str(evaluated), "--skip-bad")
    assert "no action 'evalute' (did you mean 'evaluate'?)" in failure(capsys, "fleet", "evalute")
    assert not (tmp_path / "out").exists()
