"""`patchebm score` on one machine: each image once, whatever happens; bad input in one sentence."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow", reason="the extra `scale` is not installed")
pytest.importorskip("fsspec", reason="the extra `scale` is not installed")

import pyarrow.parquet as pq  # noqa: E402

from patchebm.cli.main import main  # noqa: E402
from patchebm.errors import PatchebmError  # noqa: E402
from patchebm.loading import load  # noqa: E402
from patchebm.runtime.tail import Tail  # noqa: E402
from patchebm.scale.block import Done  # noqa: E402
from patchebm.scale.drift import DriftCounter, kolmogorov  # noqa: E402
from patchebm.scale.local import LocalEngine  # noqa: E402
from patchebm.scale.model import open_model  # noqa: E402
from patchebm.scale.plan import Block  # noqa: E402
from patchebm.scale.score import begin, score  # noqa: E402
from patchebm.scale.source import open_source  # noqa: E402
from tests.failing import failure  # noqa: E402
from tests.scale.processes import started, wait_until_gone, workers_of  # noqa: E402


def rows_of(out: Path) -> list[dict]:
    parts = sorted((out / "parts").glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def run(source: object, bundle: Path, out: Path, *more: str) -> list[dict]:
    command = ["score", str(source), "--model", str(bundle), "--out", str(out), "--workers", "2", *more]
    assert main(command) == 0
    return rows_of(out)


@pytest.fixture(scope="module")
def folder(images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 images in two sub-folders, one of them no image."""
    root = tmp_path_factory.mktemp("archive")
    for i in range(30):
        target = root / ("early" if i < 20 else "late") / f"{i:02d}.png"
        target.parent.mkdir(exist_ok=True)
        shutil.copy(images[i % len(images)], target)
    (root / "late" / "29.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def scored(folder: Path, bundle_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored") / "out"
    run(folder, bundle_file, out, "--maps", "--false-alarm-rate", "0.9")
    return out


def test_rows_are_what_the_model_predicts(folder: Path, bundle_file: Path, scored: Path) -> None:
    rows = rows_of(scored)
    paths = sorted(folder.rglob("*.png"))
    assert [row["index"] for row in rows] == list(range(30))
    assert [row["image"] for row in rows] == list(map(str, paths))
    model = load(bundle_file, threads=1).at_false_alarm_rate(0.9)
    for row, prediction in zip(rows[:-1], model.iterate(paths[:-1], heat_maps=False), strict=True):
        assert row["score"] == prediction.score
        assert row["anomalous"] == prediction.anomalous
        assert row["tail_probability"] == prediction.tail_probability
        assert {n: row[f"level_{n}"] for n in prediction.levels} == prediction.levels
        assert row["error"] is None
    assert rows[-1]["score"] is None
    assert rows[-1]["error"].startswith(f"{paths[-1]} ")


def test_maps_of_anomalous_images_alone(scored: Path) -> None:
    rows = rows_of(scored)
    assert any(row["anomalous"] for row in rows)
    assert not all(row["anomalous"] for row in rows)
    for row in rows:
        assert (row["map"] is not None) == bool(row["anomalous"])
    assert sorted(f"maps/{file.name}" for file in (scored / "maps").iterdir()) == sorted(
        row["map"] for row in rows if row["map"]
    )


def test_the_summary_is_that_of_the_rows(scored: Path) -> None:
    rows, summary = rows_of(scored), json.loads((scored / "summary.json").read_text())
    scores = np.array([row["score"] for row in rows if row["score"] is not None])
    assert (summary["images"], summary["scored"], summary["errors"]) == (30, 29, 1)
    assert summary["error_examples"] == [{"image": rows[-1]["image"], "error": rows[-1]["error"]}]
    assert summary["anomalous"] == sum(bool(row["anomalous"]) for row in rows)
    assert summary["share_anomalous"] == summary["anomalous"] / 29
    histogram = summary["histogram"]
    assert histogram["counts"] == np.histogram(scores, histogram["edges"])[0].tolist()
    assert histogram["below"] + histogram["above"] + sum(histogram["counts"]) == 29
    assert summary["scores"]["mean"] == pytest.approx(scores.mean())
    assert summary["scores"]["max"] == scores.max()


def test_complete_parts_are_kept_and_others_made_again(
    folder: Path, bundle_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    expected = run(folder, bundle_file, out)
    parts = sorted((out / "parts").iterdir())
    times = {part: part.stat().st_mtime_ns for part in parts}
    parts[1].unlink()
    (out / "summary.json").unlink()
    assert run(folder, bundle_file, out) == expected
    assert {part for part in parts if part.stat().st_mtime_ns != times[part]} == {parts[1]}
    assert (out / "summary.json").exists()


def test_manifests_carry_their_columns(folder: Path, bundle_file: Path, tmp_path: Path) -> None:
    with (folder / "list.csv").open("w", newline="", encoding="utf-8-sig") as file:
        lines = [["part", "path"], ["0007", "early/01.png"], ["ä", "early/01.png"], ["", "gone.png"]]
        csv.writer(file, delimiter=";").writerows(lines)
    rows = run(folder / "list.csv", bundle_file, tmp_path / "csv")
    assert [row["part"] for row in rows] == ["0007", "ä", ""]
    assert [row["image"] for row in rows] == ["early/01.png", "early/01.png", "gone.png"]
    assert rows[0]["score"] == rows[1]["score"] is not None
    assert rows[2]["error"] == f"{folder}/gone.png does not exist; check the path"
    table = pa.table(
        {
            "line": pa.array([1, None], pa.int16()),
            "uri": [f"file://{folder}/early/01.png", None],
            "at": pa.array([0, 1], pa.timestamp("us")),
        }
    )
    pq.write_table(table, folder / "list.parquet")
    run(folder / "list.parquet", bundle_file, tmp_path / "parquet")
    found = pq.read_table(tmp_path / "parquet" / "parts")
    carried = table.select(["line", "at"])
    assert found.select(["line", "at"]).cast(carried.schema) == carried
    assert found.column("score").to_pylist()[0] == rows[0]["score"]
    assert "names no image in this row" in found.column("error").to_pylist()[1]


def test_globs_single_images_and_uris(folder: Path, tmp_path: Path) -> None:
    def images(source: str) -> list[str]:
        return [row.image for row in open_source(source).rows()]

    expected = sorted(map(str, (folder / "early").glob("*.png")))
    assert images(f"{folder}/e*/*.png") == expected
    assert images(f"{folder}/early") == expected
    assert images(f"file://{folder}/early") == expected
    assert images(expected[0]) == expected[:1]
    brackets = tmp_path / "lot [3]"
    shutil.copytree(folder / "early", brackets)
    assert len(images(str(brackets))) == 20


def test_images_of_a_web_server(folder: Path, bundle_file: Path, tmp_path: Path) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        names = ["early/00.png", "gone.png", "late/29.png"]
        (tmp_path / "list.csv").write_text("\n".join(["uri", *(f"{base}/{name}" for name in names)]))
        rows = run(tmp_path / "list.csv", bundle_file, tmp_path / "out")
        server.shutdown()
    assert rows[0]["score"] == load(bundle_file, threads=1).score(folder / names[0])[0]
    assert rows[1]["error"] == f"{base}/gone.png does not exist; check the URI"
    assert rows[2]["error"].startswith(f"{base}/late/29.png is ")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_drift_is_the_test_of_kolmogorov_and_smirnov(seed: int) -> None:
    from scipy import special, stats

    generator = np.random.default_rng(seed)
    # Rounded, so that scores are equal to each other and to the calibration's.
    calibration = generator.normal(size=40).round(1)
    scores = generator.normal(0.3 * seed, 1, size=1000).round(1)
    counter = DriftCounter(Tail(calibration))
    for some in np.array_split(scores, 7):
        counter.add(some)
    drift = counter.result()
    assert drift is not None
    assert drift.statistic == pytest.approx(stats.ks_2samp(scores, calibration).statistic)
    distance = drift.statistic * np.sqrt(40 * 1000 / 1040)
    assert drift.p_value == pytest.approx(special.kolmogorov(distance), abs=1e-12)
    middle = np.sort(calibration)[19]
    assert drift.above_median == pytest.approx((scores > middle).mean())


def test_the_series_of_kolmogorov() -> None:
    from scipy import special

    for distance in (0.0, 0.1, 0.21, 0.5, 1.0, 1.6, 3.0):
        assert kolmogorov(distance) == pytest.approx(special.kolmogorov(distance), abs=1e-10)


def test_good_images_do_not_drift_by_chance() -> None:
    """Under the null p-values are below .01 in no more than some 1 % of the cases."""
    generator = np.random.default_rng(0)
    found = []
    for _ in range(400):
        counter = DriftCounter(Tail(generator.normal(size=50)))
        counter.add(generator.normal(size=500))
        drift = counter.result()
        assert drift is not None
        found.append(drift.drifted)
    assert sum(found) <= 12


def test_another_model_source_or_option_is_refused(
    folder: Path,
    bundle_file: Path,
    openvino_file: Path,
    scored: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {file: file.read_bytes() for file in scored.rglob("*") if file.is_file()}
    given = ["--out", str(scored), "--model"]
    same = ["--maps", "--false-alarm-rate", "0.9"]
    for command, what in [
        ([str(folder), *given, str(openvino_file), *same], "scores of another model"),
        ([str(folder / "early"), *given, str(bundle_file), *same], "scores of another list of images"),
        ([str(folder), *given, str(bundle_file), "--maps"], "scores of another false-alarm rate"),
        ([str(folder), *given, str(bundle_file), *same[1:]], "scores of another choice of --maps"),
    ]:
        assert what in failure(capsys, "score", *command)
    assert before == {file: file.read_bytes() for file in scored.rglob("*") if file.is_file()}
    assert "is not empty and holds no scores" in failure(
        capsys, "score", str(folder), "--model", str(bundle_file), "--out", str(folder)
    )


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("image,part\na.png,1\n", "has no column path or uri (it has image, part); name the column"),
        ("path,uri\na,b\n", "has both columns path and uri; keep one of them"),
        ("path,score\na,1\n", "column 'score' is one that the results have, too; rename it"),
        ("path,a,a\nx,1,2\n", "column 'a' stands there twice; rename it"),
        ("path,part\na.png\n", "line 2 has 1 cells and the header 2"),
        ("path\n", "has no rows"),
        ("", "has no column path or uri (it has none)"),
    ],
)
def test_bad_manifests_are_one_sentence(
    content: str, sentence: str, bundle_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text(content)
    out = tmp_path / "out"
    source = str(tmp_path / "list.csv")
    message = failure(capsys, "score", source, "--model", str(bundle_file), "--out", str(out))
    assert source in message
    assert sentence in message
    assert not out.exists()


def test_other_bad_input_is_one_sentence(
    folder: Path, bundle_file: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: object) -> str:
        return failure(capsys, "score", *map(str, arguments))

    rest = ["--out", tmp_path / "out", "--model"]
    assert "no.csv does not exist" in refused(tmp_path / "no.csv", *rest, bundle_file)
    assert "does not exist; name an image" in refused(tmp_path / "no", *rest, bundle_file)
    assert "holds no .bmp" in refused(f"{tmp_path}/*.png", *rest, bundle_file)
    assert "patchebm export" in refused(folder, *rest, run_folder)
    assert "no.patchebm does not exist" in refused(folder, *rest, tmp_path / "no.patchebm")
    assert "nonsense://a/b cannot be opened" in refused("nonsense://a/b", *rest, bundle_file)
    assert "--workers is 0; give at least 1" in refused(folder, *rest, bundle_file, "--workers", 0)
    assert "--address is for --engine ray" in refused(folder, *rest, bundle_file, "--address", "auto")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    assert "damaged.parquet cannot be read" in refused(tmp_path / "damaged.parquet", *rest, bundle_file)
    assert not (tmp_path / "out").exists()


def test_a_damaged_part_is_named(
    folder: Path, bundle_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(folder, bundle_file, out)
    (out / "parts" / "part-000001.parquet").write_bytes(b"PAR1 half")
    command = ["score", str(folder), "--model", str(bundle_file), "--out", str(out)]
    assert "parts/part-000001.parquet is damaged; delete it and start again" in failure(capsys, *command)


def score_command(source: Path, bundle: Path, out: Path) -> list[str]:
    return [
        sys.executable, "-m", "patchebm.cli.main", "score", str(source), "--model", str(bundle),
        "--out", str(out), "--workers", "2",
    ]  # fmt: skip


@pytest.fixture
def long_list(folder: Path, tmp_path: Path) -> Path:
    """A manifest of 1500 rows: some seconds of work."""
    lines = [f"{folder}/early/{i % 20:02d}.png,{i}" for i in range(1500)]
    (tmp_path / "long.csv").write_text("\n".join(["path,n", *lines]))
    return tmp_path / "long.csv"


def wait_for_parts(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(list((out / "parts").glob("part-*.parquet"))) < count:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("victim", ["driver", "worker"])
def test_killed_and_started_again_each_image_is_there_once(
    victim: str, long_list: Path, bundle_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = score_command(long_list, bundle_file, out)
    with started(command) as process:
        wait_for_parts(out, 5, process)
        workers = workers_of(process.pid)
        assert workers
        os.kill(process.pid if victim == "driver" else workers[0], signal.SIGKILL)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (-signal.SIGKILL if victim == "driver" else 2)
        if victim == "worker":
            assert "a worker process died" in said.splitlines()[-1]
    # Nobody works on for a driver that is gone.
    wait_until_gone(workers)
    kept = len(list((out / "parts").glob("part-*.parquet")))
    assert 5 <= kept < 188
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{1500 - 8 * kept} of 1500 images are left to score" in done.stderr
    assert [row["index"] for row in rows_of(out)] == list(range(1500))
    assert [row["n"] for row in rows_of(out)] == list(map(str, range(1500)))
    assert not list(out.rglob("*.part"))


def test_from_python_and_without_torch(folder: Path, bundle_file: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = None\n"
        "from patchebm.cli.main import main\n"
        "if __name__ == '__main__':\n"
        f"    sys.exit(main({score_command(folder, bundle_file, tmp_path / 'out')[3:]!r}))\n"
    )
    (tmp_path / "program.py").write_text(code)
    subprocess.run([sys.executable, str(tmp_path / "program.py")], check=True, capture_output=True)
    predictor, sha256 = open_model(str(bundle_file))
    begun = begin(open_source(str(folder)), predictor, sha256, str(tmp_path / "out"))
    assert begun.resumed
    assert begun.images_left == 0
    assert score(begun, LocalEngine(1)).images == 30


class GivingUp:
    """An engine that gives blocks up: all of them, or one."""

    def __init__(self, only: int | None = None) -> None:
        self.only = only
        self.asked = 0

    def score(self, work: object, blocks: Iterable[Block]) -> Generator[Done, None, None]:
        for block in blocks:
            self.asked += 1
            if self.only in (None, block.number):
                yield Done(block.number, 0, 0, f"no more of {block.images}")
            else:
                yield Done(block.number, len(block.rows), 0)


def test_a_run_goes_on_after_a_block_that_is_given_up_but_not_after_many(
    folder: Path, bundle_file: Path, tmp_path: Path
) -> None:
    predictor, sha256 = open_model(str(bundle_file))
    begun = begin(open_source(str(folder)), predictor, sha256, str(tmp_path / "out"))
    assert begun.plan.parts == 4
    one = GivingUp(1)
    with pytest.raises(PatchebmError, match=r"^no more of \S+/early/08\.png to \S+/early/15\.png$"):
        score(begun, one)
    assert one.asked == 4
    all_of_them = GivingUp()
    with pytest.raises(PatchebmError, match=r"^no more of .*/07\.png; .*/15\.png; .*/23\.png$"):
        score(begun, all_of_them)
    assert all_of_them.asked == 3
    assert not (tmp_path / "out" / "summary.json").exists()
