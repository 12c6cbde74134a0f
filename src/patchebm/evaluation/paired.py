"""This module tells a method that is better on the same sets and seeds from one that was luckier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MIN_PAIRS = 6
"""With fewer, a two-sided signed-rank test cannot fall below 0.05, whatever the figures."""


def paired_test(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """Computes Wilcoxon's signed-rank test on paired figures, two-sided.

    Pairs without a difference (both perfect, say) tell nothing about the direction and are left out, as
    Wilcoxon did.

    Args:
        first: `(N,)` figures of one method.
        second: `(N,)` figures of the other on the same sets with the same seeds, in the same order.

    Returns:
        `pairs` N; `differing`, how many of them differ; `mean_difference` first minus second over all
        pairs, None where there are none; `p`, or None where fewer than six pairs differ, with a `note`
        that says so.

    Source: Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 2006.
    """
    # Rounded, because equal ranks can lead to figures that differ in the last bit.
    differences = np.round(np.asarray(first, dtype=float) - np.asarray(second, dtype=float), 12)
    moved = differences[differences != 0]
    result: dict[str, Any] = {
        "pairs": differences.size,
        "differing": moved.size,
        "mean_difference": float(differences.mean()) if differences.size else None,
        "p": None,
    }
    if moved.size < MIN_PAIRS:
        result["note"] = (
            f"too few: {moved.size} of {differences.size} pairs differ, and the test needs {MIN_PAIRS}"
        )
        return result
    from scipy.stats import wilcoxon

    result["p"] = float(wilcoxon(moved).pvalue)
    return result


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns p-values corrected for their number by Holm's step-down procedure, in the given order.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 1979.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
