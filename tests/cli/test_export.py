"""`patchebm export`, and what the verbs do with the bundle that it writes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from patchebm.cli.main import main
from tests.failing import failure


@pytest.fixture(scope="module")
def exported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of the run folder."""
    file = tmp_path_factory.mktemp("exported") / "new" / "part.patchebm"
    assert main(["export", str(run_folder), "--out", str(file)]) == 0
    return file


def scores(file: Path) -> list[float]:
    return [record["score"] for record in json.loads(file.read_text())]


def test_a_bundle_scores_as_its_run(
    run_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "new" / "part.patchebm"
    assert main(["export", str(run_folder), "--out", str(bundle)]) == 0
    told = capsys.readouterr().out
    assert f"compared with {run_folder} on" in told
    assert "0 verdicts differ" in told
    assert f"patchebm predict {bundle} IMAGES" in told
    assert [file.name for file in bundle.parent.iterdir()] == [bundle.name]
    for model, name in ((run_folder, "run.json"), (bundle, "bundle.json")):
        assert main(["predict", str(model), str(data / "test"), "--json", str(tmp_path / name)]) == 0
    assert scores(tmp_path / "bundle.json") == pytest.approx(scores(tmp_path / "run.json"), abs=1e-3)


def test_a_bundle_is_measured_as_its_run_is(
    run_folder: Path, exported: Path, data: Path, tmp_path: Path
) -> None:
    found = {}
    # Evaluation keeps its results in the run folder.
    for model, name in ((shutil.copytree(run_folder, tmp_path / "copy"), "run"), (exported, "bundle")):
        out = tmp_path / name
        assert main(["evaluate", str(model), str(data), "--report", str(out), "--json", f"{out}.json"]) == 0
        assert (out / "report.html").stat().st_size > 10_000
        found[name] = json.loads(Path(f"{out}.json").read_text())
    for key in ("image_auroc", "pixel_auroc", "aupro"):
        assert found["bundle"][key] == pytest.approx(found["run"][key], abs=2e-3)
    for key in ("false_alarm_count", "miss_count", "threshold"):
        assert found["bundle"][key] == found["run"][key]
    assert found["bundle"]["made_by"]["model_sha256"] == hashlib.sha256(exported.read_bytes()).hexdigest()
    assert {path.name for path in tmp_path.iterdir()} == {
        "copy", "run", "bundle", "run.json", "bundle.json",
    }  # fmt: skip
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_the_same_run_gives_the_same_bundle_whatever_it_is_compared_on(
    run_folder: Path, data: Path, tmp_path: Path
) -> None:
    good = sorted((data / "test" / "good").iterdir())
    assert main(["export", str(run_folder), "--out", str(tmp_path / "a"), "--verify", *map(str, good)]) == 0
    assert (
        main(["export", str(run_folder), "--out", str(tmp_path / "b"), "--verify", str(data / "test/good")])
        == 0
    )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_cannot_be_exported_is_one_sentence(
    run_folder: Path, bundle_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "out.patchebm"
    good = str(data / "test" / "good")
    for model, target, options, words in (
        (tmp_path / "nowhere", out, [], "holds no finished model"),
        (bundle_file, out, [], "is a file, and only the run folder"),
        (run_folder, tmp_path, [], "is a folder; name a file"),
        (run_folder, tmp_path / "file" / "x", ["--verify", good], "cannot write"),
        (run_folder, out, ["--format", "tensorrt"], "--format tensorrt"),
        (run_folder, out, ["--precision", "bf16"], "add --format openvino"),
        (run_folder, out, ["--verify", str(tmp_path / "none.png")], "none.png"),
    ):
        assert words in failure(capsys, "export", str(model), "--out", str(target), *options)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_run_whose_images_are_gone_needs_others_to_compare_on(
    run_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    data.rename(moved)
    try:
        out = tmp_path / "out.patchebm"
        assert "name some with --verify" in failure(capsys, "export", str(run_folder), "--out", str(out))
        assert not out.exists()
        good = str(moved / "test" / "good")
        assert main(["export", str(run_folder), "--out", str(out), "--verify", good]) == 0
    finally:
        moved.rename(data)


def test_predict_with_a_bundle(
    bundle_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, maps, out = data / "test", tmp_path / "maps", tmp_path / "p.json"
    command = ["predict", str(bundle_file), str(images), "--out", str(maps), "--json", str(out)]
    assert main(command) == 0
    told = capsys.readouterr()
    records = json.loads(out.read_text())
    assert len(records) == len(list(images.rglob("*.png"))) == told.out.count("\n")
    assert "images are anomalous" in told.err
    for record in records:
        assert record["anomalous"] == (record["score"] > record["threshold"])
        with Image.open(record["overlay"]) as overlay:
            assert overlay.size[1] == 64
    # Nothing but the threshold moves with the rate, and nothing at all with the threads.
    again = [*command[:3], "--json", str(tmp_path / "q.json"), "--threads", "1", "--false-alarm-rate", "0.5"]
    assert main(again) == 0
    assert scores(tmp_path / "q.json") == pytest.approx(scores(out), abs=1e-4)
    assert json.loads((tmp_path / "q.json").read_text())[0]["threshold"] < records[0]["threshold"]


def test_predict_with_a_bundle_needs_no_torch(bundle_file: Path, data: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from patchebm.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )

    def predict(model: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "predict", str(model), str(data / "test" / "good")]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)

    done = predict(bundle_file)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("good/") == 3
    # A mistyped name is no reason to install torch.
    mistyped = predict(bundle_file.with_name("pratt.patchebm"))
    assert mistyped.returncode == 2
    assert "pratt.patchebm does not exist; name a bundle" in mistyped.stderr


def test_what_is_no_sound_bundle_is_one_sentence(
    bundle_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = data / "test" / "good"
    cut = tmp_path / "cut.patchebm"
    cut.write_bytes(bundle_file.read_bytes()[:-1000])
    image = shutil.copy(next(good.iterdir()), tmp_path / "image.png")
    for model in (cut, image):
        assert "truncated, damaged or no bundle" in failure(capsys, "predict", str(model), str(good))
    assert "threads" in failure(capsys, "predict", str(bundle_file), str(good), "--threads", "0")


def test_calibrate_says_that_it_needs_a_run_folder(
    bundle_file: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bundle_file.read_bytes()
    assert "only the run folder" in failure(capsys, "calibrate", str(bundle_file), str(data))
    assert bundle_file.read_bytes() == before


def test_a_region_of_interest_is_checked_before_anything_is_written(
    data: Path, tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, size, white in (("black", 64, 0), ("dot", 1, 0), ("white", 64, 255)):
        mask = Image.new("L", (size, size), white)
        # A mask that is white all over is refused for what it is.
        mask.paste(0, (0, 0, size // 2, size))
        mask.save(tmp_path / f"{name}.png")
    (tmp_path / "text.png").write_text("no image")
    features = ["--config", str(tiny_yaml)]
    for mask, options, words in (
        ("black", features, "black or transparent"),
        ("dot", features, "black or transparent"),
        ("nowhere", features, "nowhere.png does not exist"),
        ("text", features, "text.png is not a PNG"),
        ("white", ["--preset", "pixel-cpu"], "needs features"),
    ):
        out = tmp_path / "run"
        mask_file = str(tmp_path / f"{mask}.png")
        told = failure(capsys, "train", str(data), "--out", str(out), "--roi", mask_file, *options)
        assert words in told
        assert not out.exists(), "the folder was claimed by what cannot be trained"
