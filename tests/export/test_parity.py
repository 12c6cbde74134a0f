"""What export lets pass, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchebm.export.parity import Parity

GOOD = Parity(
    images=54,
    score_difference=1e-4,
    score_difference_typical=1e-5,
    map_difference=1e-4,
    verdict_flips=0,
    rank_correlation=1.0,
)


def test_what_differs_by_rounding_passes_at_every_precision() -> None:
    assert [GOOD.complaint(precision) for precision in ("f32", "bf16", "int8")] == [None] * 3


@pytest.mark.parametrize(
    ("change", "at_f32", "below"),
    [
        ({"score_difference": 0.02}, "scores differ by more than 0.01", None),
        ({"map_difference": 0.02}, "anomaly maps differ by more than 0.01", None),
        ({"verdict_flips": 1}, "verdicts differ", "fewer than 99% of the verdicts agree"),
        ({"rank_correlation": 0.98}, None, "the rank correlation is below 0.99"),
        ({"score_difference_typical": 0.03}, None, "scores typically differ by more than 0.02"),
    ],
)
def test_what_is_out_of_tolerance_is_named(
    change: dict[str, float], at_f32: str | None, below: str | None
) -> None:
    parity = replace(GOOD, **change)  # type: ignore[arg-type]
    assert parity.complaint("f32") == parity.complaint("int8") == at_f32
    assert parity.complaint("bf16") == below
