"""Results and tables recomputed from the lines of a log, without a model."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, wilcoxon

from patchebm.errors import DataError
from patchebm.evaluation.benchmark import Benchmark, find_sets
from patchebm.evaluation.benchmark_results import as_markdown, results
from patchebm.evaluation.runlog import RunLog
from tests.tiny import tiny_config, write_set

PRODUCTS = ("board", "fabric", "flange")
PRESETS = ("one", "two", "three")
SEEDS = (0, 1, 2)
FIGURES = ("image_auroc", "image_ap", "pixel_auroc", "aupro", "fit_seconds")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for product in PRODUCTS:
        write_set(folder, train=2, test=4, product=product)
    return folder


def benchmark(root: Path, log: Path, seeds: tuple[int, ...] = SEEDS) -> Benchmark:
    opened = Benchmark(root, {name: tiny_config() for name in PRESETS}, seeds, RunLog(log))
    for name in find_sets(root):
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
            seen = alarms[preset]["sets"][name]
            interval = binomtest(count, 4).proportion_ci()
            assert seen["interval"] == pytest.approx([interval.low, interval.high], abs=1e-9)
            assert seen["counts"] == [count]
            assert seen["extrapolated"] is (name == "flange")
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
    text = as_markdown(found)
    lines = {tuple(c.strip() for c in line.strip("|").split(" | ")) for line in text.splitlines()}
    facts = found["figures"]["image_auroc"]["two"]
    cells = [facts["sets"][s] for s in PRODUCTS] + [facts]
    assert ("two", *(f"{c['mean']:.3f} ± {c['std']:.3f}" for c in cells)) in lines
    assert ("image AUROC", *PRODUCTS, "mean") in lines
    # Sets without masks have no column, a set that one preset lacks has a dash.
    assert ("AUPRO (to 0.3)", "fabric", "flange", "mean") in lines
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
    text = as_markdown(found)
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
    seen = set()

    def look() -> None:
        opened = benchmark(tmp_path, tmp_path / "log.jsonl")
        seen.add(opened.sets["flange"].sha256)

    look()
    look()
    assert len(seen) == 1
    for i, name in enumerate(("train/good", "test/crack", "ground_truth/crack")):
        file = sorted((tmp_path / "flange" / name).glob("*.png"))[0]
        file.write_bytes(file.read_bytes() + b"x")
        look()
        assert len(seen) == i + 2
    (tmp_path / "flange" / "groups.csv").write_text("file,group\ntrain/good/000.png,a\n")
    look()
    assert len(seen) == 5
