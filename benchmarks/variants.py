"""Variants of the presets: each leaves out, or exchanges, one part of a preset that a benchmark measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from patchebm.config.base import RunConfig
from patchebm.config.features import FeaturesConfig
from patchebm.config.pixels import PixelsConfig
from patchebm.config.presets import load_preset
from patchebm.config.training import ShellConfig, SyntheticConfig

Variant: TypeAlias = Callable[[int], RunConfig]
"""From a seed to a configuration."""


def preset(name: str) -> Variant:
    """Returns a preset as it is."""
    return lambda seed: load_preset(name, {"seed": seed})


def _features(*changes: Callable[[FeaturesConfig], None]) -> Variant:
    """Returns the preset features, changed."""

    def build(seed: int) -> RunConfig:
        config = FeaturesConfig(seed=seed)
        for change in changes:
            change(config)
        return config

    return build


def _pixels(change: Callable[[PixelsConfig], None]) -> Variant:
    """Returns the preset pixel-cpu, changed."""

    def build(seed: int) -> RunConfig:
        config = PixelsConfig(seed=seed)
        change(config)
        return config

    return build


def _together(config: FeaturesConfig) -> None:
    """Neighbours in the order of file names are held out together."""
    config.calibration.consecutive = True


def _closed_form(config: FeaturesConfig) -> None:
    """The Gaussian of every position alone."""
    config.position.network = None


def _noise_alone(config: FeaturesConfig) -> None:
    """The network is trained against noised good cells alone."""
    _synthetic(config).noised = 1.0


def _defects_alone(config: FeaturesConfig) -> None:
    """The network is trained against synthetic defects alone."""
    _synthetic(config).noised = 0.0


def _chains(config: FeaturesConfig) -> None:
    """The negatives move down the energy, on shells around good cells."""
    assert config.position.network is not None
    config.position.network.sampler = ShellConfig()


def _with_image_level(config: FeaturesConfig) -> None:
    """A Gaussian of the whole pooled map stands beside the position level."""
    config.levels = ["position", "image"]


def _small(config: FeaturesConfig) -> None:
    """All images are resized to 256 px."""
    config.features.size = (256, 256)


def _whole(config: FeaturesConfig) -> None:
    """Nothing is cropped."""
    config.features.crop = False


def _synthetic(config: FeaturesConfig) -> SyntheticConfig:
    """Returns what the network of the position level is trained against."""
    assert config.position.network is not None
    negatives = config.position.network.negatives
    assert isinstance(negatives, SyntheticConfig)
    return negatives


def _gaussian_pixels(config: PixelsConfig) -> None:
    """The Gaussians of both levels without networks."""
    config.patch.network = config.image.network = None


def _untrained(config: PixelsConfig) -> None:
    """Networks as they are drawn, and nothing but them: the image level would else be the Gaussian."""
    for level in (config.patch, config.image):
        assert level.network is not None
        level.network.training.steps = 0
        level.score.components = "network"


GAUSSIAN = _features(_closed_form)
"""The preset features without its network."""

FEATURES: dict[str, Variant] = {
    "features": preset("features"),
    "Gaussians alone": GAUSSIAN,
    "noise alone": _features(_noise_alone),
    "defects alone": _features(_defects_alone),
    "chains": _features(_chains),
    "with image level": _features(_with_image_level),
    "256 px": _features(_small),
    "whole images": _features(_whole),
    "neighbours together": _features(_together),
    "features-fast": preset("features-fast"),
}
"""Variants that take features."""

PIXELS: dict[str, Variant] = {
    "pixel-cpu": preset("pixel-cpu"),
    "gaussian": _pixels(_gaussian_pixels),
    "image-baseline": preset("image-baseline"),
    "untrained": _pixels(_untrained),
}
"""Variants that take pixels."""
