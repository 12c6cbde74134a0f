"""What a benchmark measures, repeats and leaves out, and its tables; no model is trained."""

from __future__ import annotations

import json
import math
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest, wilcoxon

from patchebm.errors import DataError
from patchebm.evaluation.benchmark import Benchmark, find_sets
from patchebm.evaluation.benchmark_results import results
from patchebm.evaluation.runlog import RunLog
from patchebm.report.benchmark_page import benchmark_markdown
from tests.simple_predictor import fit_and_evaluate
from tests.tiny import tiny_config, write_set

REPOSITORY = Path(__file__).resolve().parents[2]
PRODUCTS = ("board", "fabric", "flange")
PRESETS = ("one", "two", "three")
SEEDS = (0, 1, 2)
FIGURES = ("image_auroc", "miss_rate", "pixel_auroc", "aupro", "fit_seconds")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for product in PRODUCTS:
        write_set(folder, train=2, test=4, product=product)
    return folder


def benchmark(
    root: Path,
    log: Path,
    seeds: tuple[int, ...] = SEEDS,
    presets: tuple[str, ...] = PRESETS,
    sets: tuple[str, ...] = (),
) -> Benchmark:
    configs = {name: tiny_config() for name in presets}
    opened = Benchmark(root, configs, seeds, RunLog(log), fit_and_evaluate)
    for name in find_sets(root, sets):
        opened.open_set(name)
    return opened


def write_rows(opened: Benchmark) -> dict[tuple[str, str, int], dict[str, Any]]:
    """A made-up run for every job; 'board' has no masks, and 'three' could not be fitted on 'fabric'."""
    random = np.random.default_rng(0)
    rows = {}
    for job in opened.jobs():
        if (job.preset, job.set) == ("three", "fabric"):
            continue
        row = {
            **job.key,
            **{figure: float(random.uniform(0.5, 1)) for figure in FIGURES},
            "good_count": 4,
            "false_alarm_count": int(random.integers(0, 3)),
            "false_alarm_rate_stated": 0.05,
            "extrapolated": job.set == "flange",
            "versions": {"patchebm": "1"},
        }
        if job.set == "board":
            del row["pixel_auroc"], row["aupro"]
        rows[job.set, job.preset, job.seed] = row
        opened.log.keep(row)
    return rows


def test_results_recomputed_from_the_runs(root: Path, tmp_path: Path) -> None:
    opened = benchmark(root, tmp_path / "log.jsonl")
    rows = write_rows(opened)
    found = results(opened, ["command"])
    assert list(found["sets"]) == list(PRODUCTS)
    assert found["complete"] is False
    assert found["runs"] == opened.log.rows
    assert found["sets"]["fabric"]["good"] == 4
    assert found["presets"]["one"]["patch"]["view"]["grid"] == 4
    for figure in FIGURES:
        with_it = [s for s in PRODUCTS if not (s == "board" and figure in ("pixel_auroc", "aupro"))]
        # All three presets have it there.
        common = [s for s in with_it if s != "fabric"]
        for preset in PRESETS:
            facts = found["figures"][figure][preset]
            for name in with_it:
                values = [rows[name, preset, n][figure] for n in SEEDS if (name, preset, n) in rows]
                if not values:
                    assert name not in facts["sets"]
                    continue
                assert facts["sets"][name]["mean"] == pytest.approx(statistics.mean(values))
                assert facts["sets"][name]["std"] == pytest.approx(statistics.stdev(values))
            by_seed = [statistics.mean(rows[s, preset, n][figure] for s in common) for n in SEEDS]
            assert facts["mean"] == pytest.approx(statistics.mean(by_seed))
            assert facts["std"] == pytest.approx(statistics.stdev(by_seed))


def test_false_alarms_recomputed_from_the_runs(root: Path, tmp_path: Path) -> None:
    opened = benchmark(root, tmp_path / "log.jsonl", seeds=(0,))
    rows = write_rows(opened)
    alarms = results(opened, [])["false_alarms"]
    for preset in PRESETS:
        counts = {s: rows[s, preset, 0]["false_alarm_count"] for s in PRODUCTS if (s, preset, 0) in rows}
        for name, count in counts.items():
            own = alarms[preset]["sets"][name]
            interval = binomtest(count, 4).proportion_ci()
            assert own["interval"] == pytest.approx([interval.low, interval.high], abs=1e-9)
            assert own["counts"] == [count]
            assert own["extrapolated"] is (name == "flange")
        together = binomtest(sum(counts.values()), 4 * len(counts))
        interval = together.proportion_ci()
        pool = alarms[preset]["pooled"]
        assert pool["interval"] == pytest.approx([interval.low, interval.high], abs=1e-9)
        assert pool["rate"] == pytest.approx(together.statistic)
        assert pool["within"] == (interval.low <= 0.05 <= interval.high)
        assert pool["largest_rate"] == max(counts.values()) / 4


def test_pairs_are_those_of_the_same_set_and_seed(root: Path, tmp_path: Path) -> None:
    opened = benchmark(root, tmp_path / "log.jsonl")
    rows = write_rows(opened)
    paired = results(opened, [])["paired"]
    p_values = []
    for pair in paired["image_auroc"]:
        first, second = pair["first"], pair["second"]
        shared = [(s, n) for s in PRODUCTS for n in SEEDS if all((s, p, n) in rows for p in (first, second))]
        differences = [
            rows[s, first, n]["image_auroc"] - rows[s, second, n]["image_auroc"] for s, n in shared
        ]
        assert pair["runs"]["pairs"] == len(shared)
        assert pair["runs"]["p"] == pytest.approx(wilcoxon(differences).pvalue)
        assert pair["runs"]["mean_difference"] == pytest.approx(statistics.mean(differences))
        assert pair["sets"]["pairs"] == len({s for s, _ in shared})
        assert pair["sets"]["p"] is None
        assert "too few" in pair["sets"]["note"]
        p_values.append(pair["runs"]["p"])
    assert [(pair["first"], pair["second"]) for pair in paired["image_auroc"]] == [
        ("one", "two"),
        ("one", "three"),
        ("two", "three"),
    ]
    smallest = min(paired["image_auroc"], key=lambda pair: pair["runs"]["p"])
    assert smallest["runs"]["p_holm"] == pytest.approx(min(1, 3 * min(p_values)))


def test_the_tables_hold_the_results(root: Path, tmp_path: Path) -> None:
    opened = benchmark(root, tmp_path / "log.jsonl")
    write_rows(opened)
    opened.errors.append({"set": "fabric", "preset": "three", "seed": 0, "error": "it | broke"})
    found = results(opened, [])
    text = benchmark_markdown(found)
    lines = {tuple(c.strip() for c in line.strip("|").split(" | ")) for line in text.splitlines()}
    facts = found["figures"]["image_auroc"]["two"]
    cells = [facts["sets"][s] for s in PRODUCTS] + [facts]
    assert ("two", *(f"{c['mean']:.3f} ± {c['std']:.3f}" for c in cells)) in lines
    assert ("image AUROC", *PRODUCTS, "mean") in lines
    # Sets without masks have no column, a set that one preset lacks has a dash.
    assert ("AUPRO to 0.3", "fabric", "flange", "mean") in lines
    assert ("miss rate (lower is better)", *PRODUCTS, "mean") in lines
    assert any(line[:1] == ("three",) and line[2] == "–" for line in lines)
    pool = found["false_alarms"]["one"]["pooled"]
    low, high = pool["interval"]
    within = "yes" if pool["within"] else "no"
    assert (
        "one",
        "all sets",
        "12",
        f"{pool['rate']:.3f}",
        f"{low:.3f} to {high:.3f}",
        "0.05",
        within,
    ) in lines
    assert any(line[:2] == ("one", "flange") and line[3].endswith("(extrapolated)") for line in lines)
    assert ("fabric, three, seed 0", "it \\| broke") in lines
    assert text.startswith("Not complete: 24 runs are measured.")
    assert not math.isnan(facts["mean"])


def test_one_seed_has_no_spread_and_good_parts_alone_are_enough(root: Path, tmp_path: Path) -> None:
    opened = benchmark(root, tmp_path / "log.jsonl", seeds=(0,))
    for job in opened.jobs():
        opened.log.keep(
            {
                **job.key,
                "good_count": 4,
                "false_alarm_count": 0,
                "fit_seconds": 1.25,
                "false_alarm_rate_stated": 0.05,
                "extrapolated": False,
                "versions": {},
            }
        )
    found = results(opened, [])
    assert found["complete"] is True
    assert set(found["figures"]) == {"fit_seconds"}
    assert found["paired"] == {}
    text = benchmark_markdown(found)
    assert "±" not in text
    assert "| one | 1.2 | 1.2 | 1.2 | 1.2 |" in text
    assert "| one | all sets | 12 | 0.000 | 0.000 to 0.265 | 0.05 | yes |" in text


def test_sets_are_found_and_named(root: Path, tmp_path: Path) -> None:
    assert find_sets(root) == list(PRODUCTS)
    assert find_sets(root, ["flange", "board", "flange"]) == ["flange", "board"]
    with pytest.raises(DataError, match=r"no image set 'x'; it holds board, fabric, flange"):
        find_sets(root, ["x"])


def test_everything_that_figures_depend_on_is_in_the_hash(tmp_path: Path) -> None:
    write_set(tmp_path, train=2, test=1)
    hashes = set()

    def add_hash() -> int:
        hashes.add(benchmark(tmp_path, tmp_path / "log.jsonl").sets["flange"].sha256)
        return len(hashes)

    assert add_hash() == add_hash() == 1
    for i, name in enumerate(("train/good", "test/crack", "ground_truth/crack")):
        file = sorted((tmp_path / "flange" / name).glob("*.png"))[0]
        file.write_bytes(file.read_bytes() + b"x")
        assert add_hash() == i + 2
    (tmp_path / "flange" / "groups.csv").write_text("file,group\ntrain/good/000.png,a\n")
    assert add_hash() == 5


def names(rows: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(row["set"], row["seed"]) for row in rows]


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Two sets of one's own, to spoil."""
    for product in ("board", "flange"):
        write_set(tmp_path / "sets", train=6, test=2, product=product)
    return tmp_path / "sets"


def run_all(opened: Benchmark) -> list[dict[str, Any]]:
    """The rows that a run adds to the log."""
    before = len(opened.log.rows)
    list(opened.run())
    return opened.log.rows[before:]


def test_each_job_is_measured_once_and_images_are_counted(sets: Path, tmp_path: Path) -> None:
    ticks: list[int] = []
    opened = benchmark(sets, tmp_path / "log.jsonl", (0, 1), ("one",))
    for job in opened.run(ticks.append):
        assert name_of_last(opened) == (job.set, job.seed)
    assert names(opened.log.rows) == [("board", 0), ("flange", 0), ("board", 1), ("flange", 1)]
    assert sum(ticks) == 2 * sum(one.size for one in opened.sets.values())
    # More seeds are added to what is there; less is a part of it.
    again = benchmark(sets, tmp_path / "log.jsonl", (0, 1, 2), ("one",))
    assert names(run_all(again)) == [("board", 2), ("flange", 2)]
    part = benchmark(sets, tmp_path / "log.jsonl", (1,), ("one",), ("flange",))
    assert run_all(part) == []
    assert names(part.rows()) == [("flange", 1)]


def name_of_last(opened: Benchmark) -> tuple[str, int]:
    return names(opened.log.rows)[-1]


def test_changed_images_or_keys_are_measured_again(sets: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    first = run_all(benchmark(sets, log, (0,), ("one",)))
    image = sorted((sets / "flange" / "test" / "good").iterdir())[0]
    with Image.open(image) as opened_image:
        flipped = opened_image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    flipped.save(image)
    opened = benchmark(sets, log, (0,), ("one",))
    assert {job.set: opened.changed(job) for job in opened.pending()} == {"flange": True}
    assert names(run_all(opened)) == [("flange", 0)]
    assert opened.log.rows[:2] == first
    assert names(opened.rows()) == [("board", 0), ("flange", 0)]
    # Another configuration: nothing in the log is of it.
    other = benchmark(sets, log, (0,), ("one",))
    other.configs["one"].false_alarm_rate = 0.3
    assert all(other.changed(job) for job in other.jobs())
    assert len(run_all(other)) == 2


def test_bad_sets_do_not_cost_the_good_one(sets: Path, tmp_path: Path) -> None:
    shutil.rmtree(sets / "board")
    for name in ("a_broken", "b_few", "c_untested", "d_link"):
        shutil.copytree(sets / "flange", sets / name)
    broken = sorted((sets / "a_broken" / "test" / "good").iterdir())[0]
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    for file in sorted((sets / "b_few" / "train" / "good").iterdir())[2:]:
        file.unlink()
    shutil.rmtree(sets / "c_untested" / "test")
    (sets / "d_link" / "train" / "good" / "gone.png").symlink_to(sets / "nowhere.png")

    opened = benchmark(sets, tmp_path / "log.jsonl", (0,), ("one",))
    assert names(run_all(opened)) == [("flange", 0)]
    found = results(opened, [])
    errors = {error["set"]: error for error in found["errors"]}
    assert list(errors) == ["c_untested", "d_link", "a_broken", "b_few"]
    assert str(broken) in errors["a_broken"]["error"]
    assert "2 good images are too few" in errors["b_few"]["error"]
    assert (errors["b_few"]["preset"], errors["b_few"]["seed"]) == ("one", 0)
    assert errors["c_untested"]["preset"] is None
    assert "gone.png" in errors["d_link"]["error"]
    assert found["complete"] is False
    text = benchmark_markdown(found)
    assert errors["a_broken"]["error"] in text
    assert "| b_few, one, seed 0 |" in text

    # Mended, it is measured, and the good one is not measured again.
    broken.write_bytes(content)
    again = benchmark(sets, tmp_path / "log.jsonl", (0,), ("one",), ("a_broken", "flange"))
    assert names(run_all(again)) == [("a_broken", 0)]
    assert again.errors == []


KILLED = """
import sys, time
from pathlib import Path
from tests.evaluation.test_benchmark import benchmark
for job in benchmark(Path(sys.argv[1]), Path(sys.argv[2]), (0, 1, 2), ("one",)).run():
    time.sleep(0.05)
"""


def test_what_is_killed_goes_on_with_nothing_lost_or_repeated(sets: Path, tmp_path: Path) -> None:
    log, whole = tmp_path / "log.jsonl", tmp_path / "whole.jsonl"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(sets), str(log)], cwd=REPOSITORY)
    deadline = time.monotonic() + 120
    # Line breaks rather than lines: the last line may just be being written.
    while not log.exists() or log.read_bytes().count(b"\n") < 2:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    killed = log.read_bytes()
    killed = killed[: killed.rfind(b"\n") + 1]
    # What a kill in the middle of writing a line would leave.
    log.write_bytes(killed + killed[: len(killed) // 3])
    opened = benchmark(sets, log, (0, 1, 2), ("one",))
    finished = len(opened.rows())
    assert 2 <= finished < 6
    assert len(run_all(opened)) == 6 - finished
    assert log.read_bytes().startswith(killed)
    assert opened.log.unreadable == 1
    expected = run_all(benchmark(sets, whole, (0, 1, 2), ("one",)))
    assert sorted(map(json.dumps, opened.rows())) == sorted(map(json.dumps, expected))
