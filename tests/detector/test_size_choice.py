"""The size that a smallest defect and a time per image ask for: chosen by what is found and measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchebm.config.features import FeaturesConfig
from patchebm.detector import EnsembleDetector
from patchebm.detector.size_choice import SizeChoice, choose_size
from patchebm.detector.speed import milliseconds
from patchebm.errors import ConfigError, DataError
from patchebm.features.framing import Framing
from tests.tiny import flanges, tiny_features


def config_for(smallest: float | None, time_per_image: float | None = None) -> FeaturesConfig:
    config = tiny_features()
    features = replace(
        config.features, size=None, grid=None, smallest_defect=smallest, time_per_image=time_per_image
    )
    return replace(config, features=features)


def framing(size: int, source: int) -> Framing:
    return Framing((size, size), (size // 8, size // 8), source=(source, source))


def fine(n: int) -> list[NDArray[np.float32]]:
    """Images `(384, 384, 1)` of a grid of lines that lie still, three pixels apart, with some noise."""
    rng = np.random.default_rng(0)
    lines = np.where(np.arange(384) % 6 < 3, 0.3, 0.6)[:, None] * np.ones((1, 384))
    return [
        np.clip(lines + rng.normal(0, 0.01, lines.shape), 0, 1).astype(np.float32)[..., None]
        for _ in range(n)
    ]


def test_the_cheapest_of_about_equal_sizes_is_chosen() -> None:
    assert SizeChoice.of(9, {256: 0.50, 384: 0.54, 512: 0.55}, 0.05).side == 256
    chosen = SizeChoice.of(9, {256: 0.40, 384: 0.54, 512: 0.55}, 0.05)
    assert chosen.side == 384
    said = chosen.describe()
    assert "40 at 256 px, 54 at 384 px, 55 at 512 px" in said
    assert "384 px was chosen, which takes about 2.2 times the time of 256 px" in said


def test_a_larger_size_finds_small_defects_in_fine_images() -> None:
    choice = choose_size(config_for(9), fine(12), framing(64, 384), further=(192,))
    assert choice.found[192] > choice.found[64] + 0.1
    assert choice.side == 192


def test_images_are_not_enlarged() -> None:
    choice = choose_size(config_for(9), flanges(8), framing(64, 64), further=(128, 256))
    assert list(choice.found) == [64]
    assert choice.side == 64


def test_the_detector_reads_at_the_chosen_size_and_says_so() -> None:
    config = config_for(9)
    config = replace(config, levels=["position"], position=replace(config.position, network=None))
    detector = EnsembleDetector(config).fit(flanges(8))
    assert detector.size_choice_ is not None
    assert detector.scorer_.inputs.size == (256, 256)  # type: ignore[union-attr]
    assert "256 px was chosen" in detector.size_choice_.describe()


def test_a_defect_that_no_size_can_show_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"smallest_defect is 2 px, of 1024 px .* at least 6 px"):
        choose_size(config_for(2), flanges(8), framing(64, 1024))


def test_few_images_are_refused() -> None:
    with pytest.raises(DataError, match="too few to choose a size"):
        choose_size(config_for(9), flanges(3), framing(64, 64))


def test_a_size_beside_it_is_refused() -> None:
    config = tiny_features()
    both = replace(config, features=replace(config.features, smallest_defect=9.0))
    with pytest.raises(ConfigError, match="leave one of them out"):
        EnsembleDetector(both).check()


def at(side: int) -> FeaturesConfig:
    config = config_for(None)
    return replace(config, features=replace(config.features, size=(side, side)))


def test_a_smaller_size_is_taken_where_an_image_takes_too_long() -> None:
    images = fine(8)
    # 36 times as many pixels: no busy moment of the machine makes up for that.
    slow, fast = (milliseconds(at(side), images[:6]) for side in (384, 64))
    between = (slow * fast) ** 0.5
    choice = choose_size(config_for(None, between), images, framing(384, 384), faster=(64,))
    assert choice.side == 64
    assert list(choice.milliseconds) == [384, 64]
    assert choice.milliseconds[64] <= between < choice.milliseconds[384]
    said = choice.describe()
    assert "ms were allowed for an image, which takes about" in said
    assert said.endswith("; 64 px was chosen")


def test_the_size_of_the_images_is_taken_where_there_is_time() -> None:
    choice = choose_size(config_for(None, 1e6), flanges(8), framing(128, 128), faster=(64,))
    assert choice.side == 128
    # Smaller ones are not even tried.
    assert list(choice.milliseconds) == [128]


def test_a_size_for_small_defects_must_be_fast_enough() -> None:
    images = fine(12)
    slow, fast = (milliseconds(at(side), images[:6]) for side in (384, 64))
    config = config_for(9, (slow * fast) ** 0.5)
    choice = choose_size(config, images, framing(64, 384), further=(384,))
    assert list(choice.found) == [64]
    assert choice.side == 64
    said = choice.describe()
    assert "ms were allowed" in said
    assert "synthetic defects of 9 to 13.5 px" in said


def test_a_time_that_no_size_keeps_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"time_per_image is 0.001 ms, and at 64 px an image takes about"):
        choose_size(config_for(None, 0.001), flanges(8), framing(128, 128), faster=(64,))


def test_what_measures_the_time_leaves_the_threads_as_they_were() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert milliseconds(at(64), flanges(6)) > 0
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
