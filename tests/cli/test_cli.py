"""The verbs as a user runs them: what works, and one sentence for everything that cannot."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from patchebm.cli.main import main
from tests.failing import failure
from tests.signals import heed_ctrl_c
from tests.tiny import TINY, write_good, write_set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", str(data), "--out", str(out), *TINY]) == 0
    return out


def test_help_is_fast_and_needs_no_torch() -> None:
    code = "import sys; from patchebm.cli.main import main; main(['--help']); print('torch' in sys.modules)"
    seconds = []
    for _ in range(3):
        before = os.times()
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        after = os.times()
        seconds.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    assert out.splitlines()[-1] == "False"
    assert "train" in out
    # Processor time, and the least of three: what neighbours on a busy machine add is not ours.
    assert min(seconds) < 0.5


def test_opening_a_run_folder_does_not_import_what_takes_long() -> None:
    code = "import sys; from patchebm.detector import load; print('scipy.stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "verb",
    [
        "check",
        "train",
        "evaluate",
        "compare",
        "export",
        "predict",
        "calibrate",
        "watch",
        "doctor",
        "benchmark",
        "demo",
    ],
)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert "usage: patchebm" in capsys.readouterr().out


def test_the_help_of_train_is_one_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    for option in (
        "--preset",
        "--false-alarm-rate",
        "--device",
        "--groups",
        "--roi",
        "--config",
        "--help-all",
    ):
        assert any(option in line for line in lines)


def test_print_config_round_trips(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", str(data), "--out", "x", "--seed", "5", "--print-config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["seed"] == 5
    assert printed["patch"]["network"]["hidden"] == 128


def tensors_of(run: Path) -> bytes:
    (file,) = run.glob("model-*.safetensors")
    return file.read_bytes()


def test_train_leaves_a_complete_run(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert record["images"] == 9
    assert record["command"][:2] == ["patchebm", "train"]
    assert "torch" in record["versions"]
    assert yaml.safe_load((run / "config.yaml").read_text())["calibration"]["folds"] == 3
    assert (run / "training" / "patch" / "member0" / "negatives.png").exists()
    assert not list(run.rglob("*.part"))


def test_the_saved_config_trains_the_same_model_again(run: Path, data: Path, tmp_path: Path) -> None:
    assert main(["train", str(data), "--out", str(tmp_path / "b"), "--config", str(run / "config.yaml")]) == 0
    assert tensors_of(tmp_path / "b") == tensors_of(run)


def test_evaluate_writes_the_promised_keys(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    assert main(["evaluate", str(run), str(data), "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    for key in ("image_auroc", "image_ap", "pixel_auroc", "aupro", "oracle_balanced_accuracy", "seconds"):
        assert key in figures
    assert set(figures["levels"]) == {"patch", "image", "ensemble"}
    for level in figures["levels"].values():
        assert {"image_auroc", "image_ap", "oracle_balanced_accuracy", "pixel_auroc", "aupro"} <= set(level)
        assert {"local", "global"} == set(level["per_kind"])
    assert figures["levels"]["ensemble"]["image_auroc"] == figures["image_auroc"]
    assert set(figures["per_defect"]) == {p.name for p in (data / "test").iterdir()} - {"good"}
    assert figures["oracle_balanced_accuracy"] >= 0.5


def test_predict_writes_records_and_overlays(run: Path, data: Path, tmp_path: Path) -> None:
    out, maps = tmp_path / "p.json", tmp_path / "maps"
    assert main(["predict", str(run), str(data / "test"), "--out", str(maps), "--json", str(out)]) == 0
    records = json.loads(out.read_text())
    assert len(records) == len(list((data / "test").rglob("*.png")))
    overlays = set()
    for record in records:
        assert {"image", "score", "anomalous", "levels"} <= set(record)
        overlays.add(record["overlay"])
        with Image.open(record["overlay"]) as overlay:
            assert overlay.size[1] >= 64
    assert len(overlays) == len(records), "images of one name must not overwrite each other"


def test_predict_lists_regions_at_a_rate(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def regions(*options: str) -> list[dict[str, Any]]:
        out = tmp_path / "p.json"
        assert main(["predict", str(run), str(data / "test"), "--json", str(out), *options]) == 0
        return [region for record in json.loads(out.read_text()) for region in record["regions"]]

    lax = regions("--false-pixel-rate", "0.1")
    told = capsys.readouterr()
    assert "regions: at most 0.1 of the pixels of good parts are marked; of " in told.err
    assert " region" in told.out
    assert {"area", "share", "box", "centre", "peak"} == set(lax[0])
    strict = regions("--false-pixel-rate", "0.0001")
    assert sum(region["area"] for region in strict) < sum(region["area"] for region in lax)
    large = regions("--false-pixel-rate", "0.1", "--smallest-region", "40")
    assert large == [region for region in lax if region["area"] >= 40]
    assert 0 < len(large) < len(lax)
    command = ["predict", str(run), str(data / "test")]
    capsys.readouterr()
    assert main([*command, "--false-pixel-rate", "0.5"]) != 0
    assert "false_pixel_rate 0.5 is not between 1e-05 and 0.1" in capsys.readouterr().err
    assert main([*command, "--smallest-region", "0"]) != 0
    assert "smallest_region is 0" in capsys.readouterr().err
    # For good: in the model.
    other = tmp_path / "other"
    assert main(["calibrate", str(run), "--false-pixel-rate", "0.1", "--out", str(other)]) == 0
    assert "at most 0.1 of the pixels" in capsys.readouterr().out
    assert main(["predict", str(other), str(data / "test"), "--json", str(tmp_path / "q.json")]) == 0
    again = json.loads((tmp_path / "q.json").read_text())
    assert [region for record in again for region in record["regions"]] == lax


def test_a_plain_folder_of_images_is_enough(data: Path, tmp_path: Path) -> None:
    plain = tmp_path / "photos"
    plain.mkdir()
    for i, file in enumerate(sorted((data / "train" / "good").iterdir())[:6]):
        with Image.open(file) as image:
            image.convert("L").resize((70, 50 + i)).save(plain / f"{i}.jpg")
    assert main(["train", str(plain), "--out", str(tmp_path / "run"), *TINY]) == 0
    assert main(["predict", str(tmp_path / "run"), str(plain / "0.jpg")]) == 0


PIXELS = ("--preset", "pixel-cpu")


def test_bad_options_name_the_field(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ("train", str(data), "--out", str(tmp_path / "r"))
    cases = {
        (*PIXELS, "--patch.network.dept", "3"): "did you mean '--patch.network.depth'",
        (
            "--patch.network.depth",
            "16",
        ): "patch.network.depth belongs to kind pixels; the run is of kind features",
        ("--patch.base.rank", "3"): "patch.base.rank belongs to kind gaussian; patch.base is of kind mixture",
        (*PIXELS, "--patch.view.grid", "many"): "patch.view.grid",
        ("--preset", "thesi"): "did you mean 'thesis'",
        ("--false_alarm_rate", "2"): "did you mean '--false-alarm-rate'",
        ("--false-alarm-rate", "2"): "false_alarm_rate is",
        (*PIXELS, "--patch.network.depth", "11"): "depth 11",
        ("--patch.network.training.batch-size", "0"): "patch.network.training.batch_size",
        (*PIXELS, "--patch.view.position-std", "spoon"): "spoon",
        ("--features.backbone", "efficientnet-light0"): "did you mean 'efficientnet-lite0'",
        ("--features.blocks", "[2, 77]"): "efficientnet-lite0 has blocks 0 to 15",
        ("--features.grid", "[99, 99]"): "features.grid [99, 99] is finer than",
        ("--features.size", "[250, 250]"): "multiples of 32",
        ("--config", str(tmp_path / "nope.yaml")): "nope.yaml",
        ("--seed=-1",): "seed is",
        (*PIXELS, "--patch.view.grid", "1"): "patch.view.grid is",
        ("--patch.top", "0"): "patch.top is",
        ("--image.network.training.warmup=-1",): "image.network.training.warmup",
        (
            "--patch.network.sampler.kind",
            "pyld",
            "--patch.network.sampler.restart",
            "2",
        ): "sampler.restart is",
        ("--image.base.rank", "0"): "image.base.rank",
        ("--calibration.members", "9"): "calibration.members is 9",
    }
    for options, words in cases.items():
        assert words in failure(capsys, *base, *options)
        assert not (tmp_path / "r").exists(), "a run folder was claimed for a configuration that cannot work"
    assert "did you mean 'train'" in failure(capsys, "trian")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"patch: 3\n", "patch is 3; it must hold keys"),
        (b"patch: {network: {training: null}}\n", "patch.network.training is null"),
        (b"patch: {network: {training: {lr: .nan}}}\n", "patch.network.training.lr"),
        (b"features: {size: 512}\n", "features.size is 512; it must be two numbers in brackets"),
        (b"features: {size: [512]}\n", "features.size is [512]; it must be two numbers in brackets"),
        (b"\xff\xfe\x00", "configuration file"),
        (b"patch: &a [*a]\n", ""),
    ],
)
def test_bad_configuration_files(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, words: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(content)
    assert words in failure(capsys, "train", str(data), "--out", str(tmp_path / "r"), "--config", str(file))
    assert not (tmp_path / "r").exists()


def test_overlays_replace_neither_images_nor_each_other(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = sorted((data / "train" / "good").iterdir())[0].read_bytes()
    for product in ("bottle", "cable"):
        folder = tmp_path / "in" / product / "test" / "good"
        folder.mkdir(parents=True)
        (folder / "000.png").write_bytes(source)
    single = tmp_path / "in" / "a.png"
    single.write_bytes(source)
    assert main(["predict", str(run), str(tmp_path / "in"), "--out", str(tmp_path / "in")]) == 0
    assert single.read_bytes() == source
    assert len(list((tmp_path / "in").glob("*_heat.png"))) == 3
    # An overlay of `a.png` would be called like this image.
    again = [str(tmp_path / "in" / "a.png"), str(tmp_path / "in" / "a_heat.png")]
    assert "would replace" in failure(capsys, "predict", str(run), *again, "--out", str(tmp_path / "in"))


def test_an_out_that_cannot_be_a_folder_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        assert str(out)[:60] in failure(capsys, "train", str(data), "--out", str(out), *TINY)


def test_an_unknown_key_in_a_file_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("patch: {network: {training: {stepz: 3}}}\n")
    sentence = failure(capsys, "train", str(data), "--out", str(tmp_path / "r"), "--config", str(file))
    assert "did you mean 'patch.network.training.steps'" in sentence


def test_bad_data_stops_before_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "r")
    assert "nowhere" in failure(capsys, "train", str(tmp_path / "nowhere"), "--out", out)
    empty = tmp_path / "empty"
    (empty / "train" / "good").mkdir(parents=True)
    assert "good" in failure(capsys, "train", str(empty), "--out", out)
    assert not (tmp_path / "r" / "model.json").exists()


def test_a_bad_image_is_named_or_skipped(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "set")
    bad = sorted((root / "train" / "good").iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:200])
    assert bad.name in failure(capsys, "train", str(root), "--out", str(tmp_path / "r"), *TINY)
    assert main(["train", str(root), "--out", str(tmp_path / "r"), "--skip-bad", *TINY]) == 0
    assert f"left out: {bad}" in capsys.readouterr().err


def test_a_finished_or_foreign_folder_is_not_overwritten(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "finished model" in failure(capsys, "train", str(data), "--out", str(run), *TINY)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("precious")
    assert "not empty" in failure(capsys, "train", str(data), "--out", str(tmp_path / "mine"), *TINY)
    assert "not empty" in failure(
        capsys, "train", str(data), "--out", str(tmp_path / "mine"), "--overwrite", *TINY
    )
    assert (tmp_path / "mine" / "config.yaml").read_text() == "precious"


def test_runs_without_a_model_are_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no finished model" in failure(capsys, "evaluate", str(tmp_path), str(data))
    assert "nope.png" in failure(capsys, "predict", str(tmp_path), str(tmp_path / "nope.png"))


def test_test_images_are_needed_to_evaluate(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no test images" in failure(capsys, "evaluate", str(run), str(data / "train" / "good"))


def test_a_mask_of_another_size_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_set(tmp_path / "set")
    mask = sorted((root / "ground_truth" / "hole").iterdir())[0]
    Image.new("L", (10, 10), 255).save(mask)
    assert mask.name in failure(capsys, "evaluate", str(run), str(root))


def start(data: Path, out: Path, steps: int = 60) -> subprocess.Popen[bytes]:
    options = [*TINY, "--patch.network.training.steps", str(steps), "--levels", "[patch]"]
    command = [sys.executable, "-m", "patchebm.cli.main", "train", str(data), "--out", str(out), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=heed_ctrl_c)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 250
    while not path.exists():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_calibrate_moves_the_threshold_and_leaves_the_energies(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b"
    good = str(data / "test" / "good")
    assert main(["calibrate", str(run), "--false-alarm-rate", "0.3", "--out", str(out)]) == 0
    assert "false-alarm rate 0.3, observed on 3 held-out good images" in capsys.readouterr().out
    assert main(["calibrate", str(out), good, good, "--false-alarm-rate=0.01"]) == 2
    assert "3 good images are too few" in capsys.readouterr().err
    more = str(write_good(tmp_path / "more", 9))
    assert main(["calibrate", str(out), good, more, "--false-alarm-rate=0.01"]) == 0
    printed = capsys.readouterr()
    assert "extrapolated by a fitted tail: 12 held-out good images can show 0.077 at best" in printed.out
    assert "give at least 99 good parts" in printed.err
    assert len(list(out.glob("model-*.safetensors"))) == 1
    assert main(["predict", str(out), good, "--false-alarm-rate", "0.5"]) == 0
    printed = capsys.readouterr()
    assert "false-alarm rate 0.5, observed on 12" in printed.err
    assert " in " in printed.out
    for arguments, words in (
        ([], "name images of good parts, or a rate"),
        (["--false-alarm-rate", "7"], "false_alarm_rate 7.0 is not between 0 and 1"),
        ([good, "--groups", "("], "no regular expression"),
        ([str(tmp_path / "nowhere")], "does not exist"),
    ):
        assert main(["calibrate", str(run), *arguments]) == 2
        assert words in capsys.readouterr().err


def test_groups_by_a_pattern_of_names(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(data), "--out", str(tmp_path / "r"), "--groups", "(nothing)_"]) == 2
    assert "does not fit the name of" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    chosen = ["--groups", "([0-9]+)", "--false-alarm-rate", "0.4"]
    assert main(["train", str(data), "--out", str(tmp_path / "r"), *chosen, *TINY]) == 0
    assert "false-alarm rate 0.4" in capsys.readouterr().out


def test_kill_nine_at_any_moment_and_resume(data: Path, tmp_path: Path) -> None:
    whole = start(data, tmp_path / "whole")
    whole.communicate()
    assert whole.returncode == 0
    out = tmp_path / "killed"
    for delay in (0.0, 0.35):
        process = start(data, out)
        wait_for(out / "training" / "patch" / "member0" / "last.ckpt", process)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (out / "model.json").exists():
            break
    if not (out / "model.json").exists():
        process = start(data, out)
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
        assert b"going on with it" in errors
    assert tensors_of(out) == tensors_of(tmp_path / "whole")


def test_ctrl_c_is_one_sentence(data: Path, tmp_path: Path) -> None:
    process = start(data, tmp_path / "r", steps=2000)
    wait_for(tmp_path / "r" / "training" / "patch" / "member0" / "last.ckpt", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert b"goes on from the last checkpoint" in errors
    assert not (tmp_path / "r" / "model.json").exists()


def test_a_run_of_another_configuration_is_not_resumed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(data, tmp_path / "r", steps=2000)
    wait_for(tmp_path / "r" / "training" / "patch" / "member0" / "last.ckpt", process)
    process.kill()
    process.wait()
    sentence = failure(capsys, "train", str(data), "--out", str(tmp_path / "r"), *TINY, "--seed", "9")
    assert "another configuration" in sentence


@pytest.mark.slow
def test_demo_writes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--quick", "--products", "flange"]) == 0
    assert "flange" in capsys.readouterr().out
    report = (out / "report.html").read_text()
    assert "flange" in report
    assert "http://" not in report
    assert json.loads((out / "results.json").read_text())[0]["image_set"] == "flange"
    # Once more is quick and changes nothing: the runs are there.
    assert main(["demo", "--out", str(out), "--quick", "--products", "flange"]) == 0
