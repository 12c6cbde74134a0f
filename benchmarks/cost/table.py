"""The cost as numbers and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from patchebm.evaluation.summary import markdown

Rounds = Mapping[str, Sequence[float]]
"""Milliseconds of each round by setting, such as `1 score` for one thread without a map."""


def setting(threads: int, maps: bool) -> str:
    """Returns what a setting is called."""
    return f"{threads} {'map' if maps else 'score'}"


def summarised(own: Rounds, bare: Rounds) -> dict[str, dict[str, float]]:
    """Returns for each setting the median of the milliseconds, and of the ratio to the bare backbone.

    Ratios are taken round by round, in which both are timed within seconds of each other, so that a machine
    that becomes slower or faster does not count.
    """
    found = {}
    for key, times in own.items():
        below = bare[key.replace("map", "score")]
        ratios = [a / b for a, b in zip(times, below, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        found[key] = {
            "ms": round(statistics.median(times), 2),
            "ratio": round(statistics.median(ratios), 3),
            "ratio_lower_quartile": round(low, 3),
            "ratio_upper_quartile": round(high, 3),
        }
    return found


def whole(results: Mapping[str, Any]) -> str:
    """Returns Markdown: the machine, then a table for each part that was measured."""
    parts = [machine(results)]
    if "times" in results:
        parts.append(times(results))
    parts.append(fits(results))
    if "starts" in results:
        parts.append(starts(results["starts"]))
    if results["left_out"]:
        reasons = [[name, " ".join(why.split())] for name, why in results["left_out"].items()]
        parts.append(markdown(["left out", "why"], reasons))
    return "\n".join(parts)


def machine(results: Mapping[str, Any]) -> str:
    """Returns a sentence on the machine."""
    facts, versions = results["machine"], results["versions"]
    memory = f", {facts['memory_mb'] / 1024:.0f} GB" if facts["memory_mb"] else ""
    return (
        f"{facts['processor']}, {facts['cores']:g} cores{memory}, {facts['system']}, Python "
        f"{facts['python']}, torch {versions['torch']}. One image of {results['size']} px at a time, "
        f"decoded; medians of {results['rounds']} rounds, in which every contender has its turn, in a "
        "process of its own. Ratios are to the bare backbone in the same runtime, threads and round.\n"
    )


def times(results: Mapping[str, Any]) -> str:
    """Returns Markdown: a row for each contender."""
    threads = results["threads"]
    settings = [setting(n, maps) for maps in (False, True) for n in threads]
    header = ["one image", "runtime"]
    for key in settings:
        number, what = key.split()
        header += [f"{what}: ms, {number} thread{'s' * (number != '1')}", "/ bare"]
    rows = []
    for facts in results["times"].values():
        cells = [facts["name"], facts["runtime"]]
        for key in settings:
            own = facts.get(key)
            cells += ["", ""] if own is None else [f"{own['ms']:.1f}", f"{own['ratio']:.2f}"]
        memory = facts["peak_mb"]
        rows.append([*cells, "" if memory is None else f"{memory} MB"])
    return markdown([*header, "memory of the process"], rows)


def fits(results: Mapping[str, Any]) -> str:
    """Returns Markdown: a row for each method that was fitted, and for each exported model."""
    rows = []
    for title, facts in results["fits"].items():
        memory = None if facts["peak_mb"] is None else facts["peak_mb"] - facts["imports_mb"]
        rows.append(
            [
                title,
                f"{facts['fit_seconds']:.0f} s",
                str(facts["fit_threads"]),
                "" if memory is None else f"{memory} MB",
                f"{facts['state_bytes'] / 1e6:.1f} MB",
            ]
        )
    rows += [[title, "", "", "", f"{size / 1e6:.1f} MB"] for title, size in results["bundle_bytes"].items()]
    header = [f"fit of {results['images']} images", "time", "threads", "memory above imports", "size"]
    return markdown(header, rows) + (
        "\nThe size of a fitted method is that of its files, without the frozen backbone; an exported model "
        "holds the backbone.\n"
    )


def starts(found: Mapping[str, Mapping[str, float]]) -> str:
    """Returns Markdown: a row for each start."""
    rows = [[title, f"{facts['cold']:.2f}", f"{facts['warm']:.2f}"] for title, facts in found.items()]
    return markdown(["start of a process, to its end", "s, cold", "s, warm"], rows)
