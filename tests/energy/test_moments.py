"""Sums over maps: the same in parts as at once, and as exact for many maps as for few."""

from __future__ import annotations

import numpy as np
import torch

from patchebm.energy.moments import BATCH, SHIFT_IMAGES, Moments, MomentSums, shift_of
from patchebm.energy.position_gaussian import PositionGaussian

CPU = torch.device("cpu")
ZONES = (2, 3)


def maps(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([1.0, 2.0, 0.5])[:, None, None]
    return (5 + torch.randn(n, 3, 4, 6, generator=generator) * scale).half()


def test_a_stream_gives_the_sums_of_all_at_once() -> None:
    x = maps(3 * SHIFT_IMAGES + 7)
    sums = MomentSums(ZONES, CPU)
    for one in x:
        sums.add(one)
    streamed = sums.moments()
    assert streamed is not None
    assert streamed.second.dtype == torch.float64
    torch.testing.assert_close(streamed.shift, shift_of(list(x[:SHIFT_IMAGES])))
    expected = Moments.of(x.float(), streamed.shift, ZONES)
    assert streamed.count == expected.count == len(x)
    torch.testing.assert_close(streamed.first, expected.first, rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(streamed.second, expected.second, rtol=1e-6, atol=1e-3)
    assert MomentSums(ZONES, CPU).moments() is None


def test_sums_of_parts_added_up_are_those_of_all_to_rounding() -> None:
    # Parts of whole batches, so that the same products are formed.
    x = maps(6 * BATCH).float()
    shift = shift_of(list(x[:5]))
    whole = Moments.of(x, shift, ZONES)
    added = Moments.empty(shift, whole.grid, ZONES)
    for part in (x[2 * BATCH :], x[: 2 * BATCH]):
        added += Moments.of(part, shift, ZONES)
    assert added.count == whole.count
    torch.testing.assert_close(added.first, whole.first, rtol=1e-12, atol=1e-10)
    torch.testing.assert_close(added.second, whole.second, rtol=1e-12, atol=1e-10)


def test_many_images_lose_no_more_digits_than_few() -> None:
    x = maps(BATCH).float()
    shift = torch.zeros(3)
    once = Moments.of(x, shift, ZONES)
    often = Moments.empty(shift, once.grid, ZONES)
    for _ in range(5000):
        often.add(x)
    assert often.count == 5000 * BATCH
    np.testing.assert_allclose(often.second / 5000, once.second, rtol=1e-10)
    np.testing.assert_allclose(often.first / 5000, once.first, rtol=1e-10)


def test_what_was_added_can_be_taken_out_again() -> None:
    x = maps(SHIFT_IMAGES + 9)
    sums = MomentSums(ZONES, CPU)
    for one in x:
        sums.add(one)
    gone = [3, 40, SHIFT_IMAGES + 2]
    left = sums.without(x[i] for i in gone).moments()
    assert left is not None
    stay = [i for i in range(len(x)) if i not in gone]
    expected = Moments.of(x[stay].float(), left.shift, ZONES)
    assert left.count == expected.count
    torch.testing.assert_close(left.second, expected.second, rtol=1e-5, atol=1e-3)
    # The sums themselves stay what they were.
    whole = sums.moments()
    assert whole is not None
    assert whole.count == len(x)


def test_a_fold_is_left_out_as_if_it_had_never_been_added() -> None:
    x, new = maps(40).float(), maps(2, seed=1).float()
    shift = shift_of(list(x))
    fold = Moments.of(x[:9], shift, ZONES)
    left_out = PositionGaussian.from_moments(Moments.of(x, shift, ZONES), without=fold)
    alone = PositionGaussian.from_moments(Moments.of(x[9:], shift, ZONES))
    torch.testing.assert_close(left_out.residuals(new), alone.residuals(new), rtol=2e-3, atol=2e-3)
