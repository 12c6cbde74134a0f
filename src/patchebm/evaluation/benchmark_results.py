"""What a benchmark has found, as a record for JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from patchebm.evaluation.alarms import observed, pooled
from patchebm.evaluation.benchmark import Benchmark
from patchebm.evaluation.paired import holm, paired_test
from patchebm.evaluation.summary import Columns, markdown, summarise, table

# Figure -> heading and digits of its table.
FIGURES = {
    "image_auroc": ("image AUROC", 3),
    "image_ap": ("image average precision", 3),
    "pixel_auroc": ("pixel AUROC", 3),
    "aupro": ("AUPRO (to 0.3)", 3),
    "fit_seconds": ("seconds to fit", 1),
}
# Those of which more is better, so that presets are compared by them.
COMPARED = ("image_auroc", "image_ap", "pixel_auroc", "aupro")


def results(benchmark: Benchmark, command: Sequence[str]) -> dict[str, Any]:
    """All figures of the runs that are finished; docs/benchmarking.md explains every key.

    Args:
        benchmark: finished or not.
        command: how it was started.
    """
    rows = benchmark.rows()
    sets = list(benchmark.sets)
    configs = {name: asdict(config) for name, config in benchmark.configs.items()}
    for config in configs.values():
        del config["seed"]
    used: list[dict[str, str]] = []
    for row in rows:
        if row["versions"] not in used:
            used.append(row["versions"])
    return {
        "command": list(command),
        "complete": not benchmark.pending() and not benchmark.errors,
        "versions": used,
        "sets": {
            name: {
                "data_sha256": opened.sha256,
                "train": len(opened.image_set.train),
                "good": sum(p.anomalous is False for p in opened.image_set.test),
                "anomalous": sum(p.anomalous is True for p in opened.image_set.test),
                "masks": opened.image_set.has_masks,
            }
            for name, opened in benchmark.sets.items()
        },
        "presets": configs,
        "seeds": list(benchmark.seeds),
        "figures": {
            figure: summarise(columns, sets_of(columns, sets), partial=True)
            for figure in FIGURES
            if (columns := columns_of(rows, figure))
        },
        "false_alarms": false_alarms(rows),
        "paired": {
            figure: compare(columns) for figure in COMPARED if len(columns := columns_of(rows, figure)) > 1
        },
        "errors": benchmark.errors,
        "runs": rows,
    }


def columns_of(rows: Sequence[dict[str, Any]], figure: str) -> Columns:
    """Preset -> set -> figure by seed, of the runs that have the figure."""
    found: Columns = {}
    for row in rows:
        if figure in row:
            found.setdefault(row["preset"], {}).setdefault(row["set"], {})[row["seed"]] = row[figure]
    return found


def sets_of(columns: Columns, sets: Sequence[str]) -> list[str]:
    """Those of the sets that any preset has a figure of, in order."""
    return [name for name in sets if any(name in by_set for by_set in columns.values())]


def false_alarms(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """For each preset the `stated` rate, what was observed on each of the `sets`, and `pooled` over them."""
    found: dict[str, Any] = {}
    counts = columns_of([row for row in rows if row["good_count"]], "false_alarm_count")
    for preset, by_set in counts.items():
        own = {row["set"]: row for row in rows if row["preset"] == preset}
        stated = next(iter(own.values()))["false_alarm_rate_stated"]
        per_set = {
            name: observed([int(v) for v in by_seed.values()], own[name]["good_count"], stated)
            | {"extrapolated": own[name]["extrapolated"]}
            for name, by_seed in by_set.items()
        }
        found[preset] = {"stated": stated, "sets": per_set, "pooled": pooled(list(per_set.values()), stated)}
    return found


def compare(columns: Columns) -> list[dict[str, Any]]:
    """Every two presets, tested on the pairs that both have.

    Returns:
        For each two `first` and `second`; `runs`, the test over sets and seeds; `sets`, the test over sets,
        each with its mean over the seeds that both have. Each test is what `paired_test` returns and, where
        it has a p, `p_holm`: p corrected for the number of comparisons of this figure.
    """
    found: list[dict[str, Any]] = []
    for first, second in combinations(columns, 2):
        by_set = []
        for name, by_seed in columns[first].items():
            other = columns[second].get(name, {})
            if pairs := [(by_seed[seed], other[seed]) for seed in by_seed if seed in other]:
                by_set.append(np.array(pairs))
        runs = np.concatenate(by_set) if by_set else np.empty((0, 2))
        means = np.array([pairs.mean(axis=0) for pairs in by_set]).reshape(-1, 2)
        tests = {"runs": paired_test(*runs.T), "sets": paired_test(*means.T)}
        found.append({"first": first, "second": second, **tests})
    for unit in ("runs", "sets"):
        tested = [pair[unit] for pair in found if pair[unit]["p"] is not None]
        for test, corrected in zip(tested, holm([test["p"] for test in tested]), strict=True):
            test["p_holm"] = corrected
    return found


def as_markdown(found: dict[str, Any]) -> str:
    """The tables of `table.md` from what `results` returned."""
    parts = []
    seeds = len(found["seeds"])
    if not found["complete"]:
        parts.append(f"Not complete: {len(found['runs'])} runs are measured.\n")
    if len(found["versions"]) > 1:
        parts.append(
            "The runs were made with different versions of packages; see `versions` in results.json.\n"
        )
    for figure, summary in found["figures"].items():
        title, digits = FIGURES[figure]
        names = [name for name in found["sets"] if any(name in f["sets"] for f in summary.values())]
        parts.append(table(summary, names, title, digits=digits, spreads=seeds > 1))
    if found["false_alarms"]:
        parts.append(_alarm_table(found["false_alarms"]))
    if found["paired"]:
        parts.append(_paired_table(found["paired"]))
    if found["errors"]:
        rows = [[_where(error), error["error"]] for error in found["errors"]]
        parts.append(markdown(["not measured", "why"], rows))
    return "\n".join(parts)


def _alarm_table(found: dict[str, Any]) -> str:
    rows = []
    for preset, facts in found.items():
        for name, seen in [*facts["sets"].items(), ("all sets", facts["pooled"])]:
            low, high = seen["interval"]
            rows.append(
                [
                    preset,
                    name,
                    str(seen["good"]),
                    f"{seen['rate']:.3f}" + (" (extrapolated)" if seen.get("extrapolated") else ""),
                    f"{low:.3f} to {high:.3f}",
                    f"{facts['stated']:g}",
                    "yes" if seen["within"] else "no",
                ]
            )
    header = [
        "observed false alarms",
        "set",
        "good images",
        "rate",
        "95 % interval",
        "stated",
        "stated within",
    ]
    return markdown(header, rows)


def _paired_table(found: dict[str, Any]) -> str:
    rows = []
    for figure, pairs in found.items():
        for pair in pairs:
            for unit in ("runs", "sets"):
                test = pair[unit]
                difference = test["mean_difference"]
                rows.append(
                    [
                        f"{pair['first']} - {pair['second']}",
                        FIGURES[figure][0],
                        "sets and seeds" if unit == "runs" else "sets",
                        str(test["pairs"]),
                        "–" if difference is None else f"{difference:+.3f}",
                        test["note"] if test["p"] is None else f"{test['p']:.2g}",
                        f"{test['p_holm']:.2g}" if "p_holm" in test else "–",
                    ]
                )
    header = ["paired", "figure", "over", "pairs", "mean difference", "p (signed rank)", "p (Holm)"]
    return markdown(header, rows)


def _where(error: dict[str, Any]) -> str:
    run = "" if error["preset"] is None else f", {error['preset']}, seed {error['seed']}"
    return f"{error['set']}{run}"
