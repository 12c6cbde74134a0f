"""`patchebm fleet score`: each image once, with the model of its product."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow", reason="the extra `scale` is not installed")
pytest.importorskip("fsspec", reason="the extra `scale` is not installed")

import pyarrow.parquet as pq  # noqa: E402

from patchebm.cli.main import main  # noqa: E402
from patchebm.loading import load  # noqa: E402
from patchebm.scale.fleet_models import FleetModels  # noqa: E402
from patchebm.scale.fleet_score import FleetBegun, begin_fleet, score_fleet  # noqa: E402
from patchebm.scale.fleet_source import open_fleet_source  # noqa: E402
from patchebm.scale.local import LocalEngine  # noqa: E402
from tests.failing import failure  # noqa: E402
from tests.scale.processes import started, wait_until_gone, workers_of  # noqa: E402

# More than a block.
FLANGES = 70


@pytest.fixture(scope="module")
def models(bundle_file: Path, openvino_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle in the folder of its product, and another beside the folders; of a third, none."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "flange <b>").mkdir()
    shutil.copy(bundle_file, folder / "flange <b>" / "part.patchebm")
    shutil.copy(openvino_file, folder / "board.patchebm")
    return folder


@pytest.fixture(scope="module")
def archive(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of three products, an image of which is none."""
    root = tmp_path_factory.mktemp("archive")
    for product, count in (("board", 5), ("flange <b>", FLANGES), ("flang", 3)):
        for i in range(count):
            target = root / product / ("early" if i % 2 else "late") / f"{i:02d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(images[i % len(images)], target)
    (root / "board" / "early" / "01.png").write_bytes(b"no image")
    (root / "nothing").mkdir()
    return root


def command(source: Path, models: Path, out: Path, *more: str) -> list[str]:
    return [
        "fleet",
        "score",
        str(source),
        "--models",
        str(models),
        "--out",
        str(out),
        "--workers",
        "2",
        *more,
    ]


def rows_of(out: Path, product: str) -> list[dict]:
    parts = sorted((out / product / "parts").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def lines(out: Path) -> dict[str, dict]:
    return {row["product"]: row for row in pq.read_table(out / "fleet.parquet").to_pylist()}


@pytest.fixture(scope="module")
def scored(archive: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored") / "out"
    # A product has no model.
    assert main(command(archive, models, out, "--maps", "--false-alarm-rate", "0.9")) == 2
    return out


def test_each_image_is_scored_by_the_model_of_its_product(scored: Path, archive: Path, models: Path) -> None:
    for product, model in (("flange <b>", "flange <b>/part.patchebm"), ("board", "board.patchebm")):
        paths = sorted((archive / product).rglob("*.png"))
        rows = rows_of(scored, product)
        assert [row["image"] for row in rows] == list(map(str, paths))
        assert [row["index"] for row in rows] == list(range(len(paths)))
        assert {row["product"] for row in rows} == {product}
        predictor = load(models / model, threads=1).at_false_alarm_rate(0.9)
        good = [(row, path) for row, path in zip(rows, paths, strict=True) if row["error"] is None]
        found = predictor.predict([path for _, path in good])
        assert [row["score"] for row, _ in good] == [prediction.score for prediction in found]
        assert [row["anomalous"] for row, _ in good] == [prediction.anomalous for prediction in found]
        assert all((scored / product / row["map"]).exists() for row, _ in good if row["anomalous"])
        assert [row["error"] is None for row in rows] == [path.read_bytes() != b"no image" for path in paths]
    assert len(list((scored / "flange <b>" / "parts").iterdir())) == 2


def test_a_line_for_each_product(scored: Path, models: Path) -> None:
    found = lines(scored)
    assert list(found) == ["board", "flang", "flange <b>"]
    board, missing, flange = found.values()
    assert (board["images"], board["scored"], board["errors"]) == (5, 4, 1)
    assert (flange["images"], flange["errors"], flange["error"]) == (FLANGES, 0, None)
    rows = rows_of(scored, "flange <b>")
    assert flange["anomalous"] == sum(row["anomalous"] for row in rows)
    assert flange["share_anomalous"] == flange["anomalous"] / FLANGES
    summary = json.loads((scored / "flange <b>" / "summary.json").read_text())
    assert flange["drift_p_value"] == summary["drift"]["p_value"]
    assert flange["threshold"] == summary["threshold"]
    assert missing["error"] == (
        f"{models} has no model of the product 'flang' (did you mean 'flange <b>'?); train it or leave it out"
    )
    assert not (scored / "flang").exists()
    page = (scored / "fleet.html").read_text()
    assert "3 of 3 products are done; 1 of them failed" in page
    assert "flange &lt;b&gt;" in page


def test_parts_that_are_there_are_kept(archive: Path, models: Path, scored: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(scored, tmp_path / "out"))
    parts = sorted((out / "flange <b>" / "parts").iterdir())
    expected = {file: file.read_bytes() for file in out.rglob("*.parquet")}
    times = {part: part.stat().st_mtime_ns for part in parts}
    parts[1].unlink()
    assert main(command(archive, models, out, "--maps", "--false-alarm-rate", "0.9")) == 2
    assert {file: file.read_bytes() for file in out.rglob("*.parquet")} == expected
    assert [part for part in parts if part.stat().st_mtime_ns != times[part]] == parts[1:]


def test_a_manifest_names_products_in_turns(
    scored: Path, archive: Path, models: Path, tmp_path: Path
) -> None:
    found = {product: rows_of(scored, product) for product in ("board", "flange <b>")}
    # Relative paths, in turns and not in the order of names.
    turns = []
    for i in range(FLANGES):
        turns += [(product, found[product][i]) for product in found if i < len(found[product])]
    cells = [
        f"{Path(row['image']).relative_to(archive)},{product},{i:03d}"
        for i, (product, row) in enumerate(turns)
    ]
    (archive / "list.csv").write_text("\n".join(["path,product,serial", *cells]))
    out = tmp_path / "out"
    assert main(command(archive / "list.csv", models, out, "--false-alarm-rate", "0.9")) == 0
    for product, expected in found.items():
        rows = rows_of(out, product)
        assert [row["score"] for row in rows] == [row["score"] for row in expected]
        assert {row["product"] for row in rows} == {product}
        serials = [f"{i:03d}" for i, (own, _) in enumerate(turns) if own == product]
        assert [row["serial"] for row in rows] == serials


def test_names_in_a_manifest_lead_to_no_other_folder(
    images: list[Path], bundle_file: Path, tmp_path: Path
) -> None:
    """A manifest comes from outside: `..` and slashes are no products."""
    (tmp_path / "fleet" / "models" / "a").mkdir(parents=True)
    for place in ("part.patchebm", "fleet/part.patchebm", "fleet/models/a/part.patchebm"):
        shutil.copy(bundle_file, tmp_path / place)
    names = ["..", "../..", f"{tmp_path}/fleet", ".", "a/../a"]
    lists = [f"{images[0]},{name}" for name in names]
    (tmp_path / "list.csv").write_text("\n".join(["path,product", *lists, f"{images[0]},a"]))
    out = tmp_path / "results" / "out"
    assert main(command(tmp_path / "list.csv", tmp_path / "fleet" / "models", out)) == 2
    errors = {name: line["error"] for name, line in lines(out).items() if line["error"]}
    assert sorted(errors) == sorted(names)
    assert all("has no model of the product" in error for error in errors.values())
    assert sorted(path.name for path in out.iterdir()) == [
        "a", "fleet.csv", "fleet.html", "fleet.json", "fleet.parquet",
    ]  # fmt: skip
    assert list((tmp_path / "results").iterdir()) == [out]


def test_a_product_that_fails_concerns_no_other(
    archive: Path, models: Path, bundle_file: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(models, tmp_path / "models"))
    (own / "board.patchebm").write_bytes(b"no bundle")
    shutil.copy(bundle_file, own / "flang.patchebm")
    out = tmp_path / "out"
    # Another list of images than it was.
    source = Path(shutil.copytree(archive, tmp_path / "archive"))
    assert main(command(source, own, out)) == 2
    assert {name for name, line in lines(out).items() if line["error"]} == {"board"}
    assert "board.patchebm" in lines(out)["board"]["error"]
    shutil.copy(source / "flang" / "late" / "00.png", source / "flang" / "late" / "new.png")
    shutil.copy(models / "board.patchebm", own)
    assert main(command(source, own, out)) == 2
    errors = {name: line["error"] for name, line in lines(out).items() if line["error"]}
    assert errors == {"flang": f"{out}/flang holds scores of another list of images; choose another --out"}
    assert len(rows_of(out, "board")) == 5


def test_workers_that_cannot_read_a_model_or_find_another_leave_its_product_alone(
    archive: Path, models: Path, bundle_file: Path, openvino_file: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(models, tmp_path / "models"))
    shutil.copy(bundle_file, own / "flang.patchebm")

    def begun() -> FleetBegun:
        return begin_fleet(open_fleet_source(str(archive)), FleetModels(str(own)), str(tmp_path / "out"))

    first = begun()
    # The run has begun, and workers have not opened the models yet.
    (own / "board.patchebm").write_bytes(b"no bundle")
    shutil.copy(openvino_file, own / "flange <b>" / "part.patchebm")
    errors = {line["product"]: line["error"] for line in score_fleet(first, LocalEngine(2))}
    assert errors["flang"] is None
    assert f"{own}/board.patchebm" in errors["board"]
    assert errors["flange <b>"] == (
        f"{own}/flange <b>/part.patchebm is another file than when scoring began; choose another --out"
    )
    assert not rows_of(tmp_path / "out", "flange <b>")
    assert len(rows_of(tmp_path / "out", "flang")) == 3
    shutil.copy(models / "board.patchebm", own)
    shutil.copy(models / "flange <b>" / "part.patchebm", own / "flange <b>")
    again = score_fleet(begun(), LocalEngine(2))
    assert [line["error"] for line in again] == [None, None, None]
    assert len(rows_of(tmp_path / "out", "flange <b>")) == FLANGES


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("path,part\na.png,1\n", "has no column product (beside that of the images it has part)"),
        ("path,product\na.png,a\nb.png,\n", "image 2 (b.png) has no product; name it or leave the row out"),
        ("path,product\n", "has no rows"),
    ],
)
def test_bad_manifests_are_one_sentence(
    content: str, sentence: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text(content)
    assert sentence in failure(capsys, *command(tmp_path / "list.csv", models, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_other_bad_input_is_one_sentence(
    archive: Path, models: Path, scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert "does not exist; name a folder of product folders" in failure(
        capsys, *command(tmp_path / "no", models, out)
    )
    assert "holds no folders of" in failure(capsys, *command(archive / "board" / "early", models, out))
    assert "holds no models" in failure(capsys, *command(archive, tmp_path / "no", out))
    assert "false_alarm_rate" in failure(capsys, *command(archive, models, out, "--false-alarm-rate", "2"))
    assert not out.exists()
    assert "was made with other options (--false-alarm-rate 0.9 --maps)" in failure(
        capsys, *command(archive, models, scored)
    )
    assert "is not empty and holds no fleet" in failure(capsys, *command(archive, models, archive))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_and_started_again_each_image_is_there_once(
    archive: Path, bundle_file: Path, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    names = ["a", "b", "c"]
    for name in names:
        shutil.copy(bundle_file, models / f"{name}.patchebm")
    image = next((archive / "flange <b>").rglob("*.png"))
    cells = [f"{image},{names[i % 3]},{i}" for i in range(2100)]
    (tmp_path / "list.csv").write_text("\n".join(["path,product,n", *cells]))
    out = tmp_path / "out"
    whole = [sys.executable, "-m", "patchebm.cli.main", *command(tmp_path / "list.csv", models, out)]

    def parts() -> int:
        return len(list(out.glob("*/parts/part-*.parquet")))

    with started(whole) as process:
        deadline = time.monotonic() + 120
        while parts() < 4:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.02)
        workers = workers_of(process.pid)
        assert workers
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    # Nobody works on for a driver that is gone.
    wait_until_gone(workers)
    kept = parts()
    assert 4 <= kept < 33
    done = subprocess.run(whole, capture_output=True, text=True, check=True)
    assert "of 2100 images are left to score" in done.stderr
    for i, name in enumerate(names):
        rows = rows_of(out, name)
        assert [row["n"] for row in rows] == [str(n) for n in range(i, 2100, 3)]
        assert [row["index"] for row in rows] == list(range(700))
        assert not any(row["error"] for row in rows)
    assert not list(out.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_same_parts_on_ray(archive: Path, models: Path, scored: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra `scale` is not installed")
    out = tmp_path / "out"
    more = ["--maps", "--false-alarm-rate", "0.9", "--engine", "ray"]
    assert main(command(archive, models, out, *more)) == 2

    def content(folder: Path) -> dict[str, bytes]:
        return {
            str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()
        }

    assert content(out) == content(scored)
