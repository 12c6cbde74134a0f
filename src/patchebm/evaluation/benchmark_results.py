"""This module makes a record for JSON of what a benchmark has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from patchebm.evaluation.alarms import observed, pooled
from patchebm.evaluation.benchmark import Benchmark
from patchebm.evaluation.metrics import METRICS, Metric
from patchebm.evaluation.paired import holm, paired_test
from patchebm.evaluation.summary import Columns, summarise

SECONDS = "fit_seconds"
"""Beside the metrics, a benchmark has a table of what fitting costs."""


def results(
    benchmark: Benchmark, command: Sequence[str], metrics: Sequence[Metric] = METRICS
) -> dict[str, Any]:
    """Returns all figures of the runs that are finished; docs/benchmarking.md explains every key.

    Args:
        benchmark: finished or not.
        command: how it was started.
        metrics: of these the headline ones are summarised, and presets compared by them.
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
    names = [metric.name for metric in metrics if metric.headline]
    columns = {name: found for name in (*names, SECONDS) if (found := columns_of(rows, name))}
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
            name: summarise(own, [s for s in sets if s in set().union(*own.values())], partial=True)
            for name, own in columns.items()
        },
        "false_alarms": false_alarms(rows),
        "paired": {name: compare(own) for name, own in columns.items() if name in names and len(own) > 1},
        "errors": benchmark.errors,
        "runs": rows,
    }


def columns_of(rows: Sequence[dict[str, Any]], figure: str) -> Columns:
    """Returns preset -> set -> figure by seed, of the runs that have the figure."""
    found: Columns = {}
    for row in rows:
        if figure in row:
            found.setdefault(row["preset"], {}).setdefault(row["set"], {})[row["seed"]] = row[figure]
    return found


def false_alarms(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns for each preset the `stated` rate, what was observed on the `sets`, and `pooled` over them."""
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
    """Compares every two presets on the pairs that both have.

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
