"""Variants of the presets: each leaves out, or exchanges, one part of a preset that a benchmark measures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from patchebm.config.base import RunConfig
from patchebm.config.features import FeaturesConfig, GaussianConfig, MixtureConfig
from patchebm.config.pixels import PixelsConfig
from patchebm.config.presets import load_preset
from patchebm.config.training import PYLDConfig

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


def _at_random(config: FeaturesConfig) -> None:
    """Neighbours in the order of file names are not held out together."""
    config.calibration.consecutive = False


def _means(config: FeaturesConfig) -> None:
    """Both levels score by the mean over the cross-fitted energies, in which parts are compared."""
    config.calibration.refit = []


def _gaussian(config: FeaturesConfig) -> None:
    """Gaussians of both levels without networks; that of a cell is small and keeps all its axes."""
    config.patch.base, config.patch.network = GaussianConfig(rank=None), None
    config.image.network = None


def _mixture(config: FeaturesConfig) -> None:
    """The clusters of the patch level as they are fitted."""
    config.levels = ["patch"]
    config.patch.network = None


def _likelihood(config: FeaturesConfig) -> None:
    """The same, fitted by maximum likelihood."""
    _mixture(config)
    config.patch.base = MixtureConfig(em_steps=20)


def _network_alone(config: FeaturesConfig) -> None:
    """The network of the patch level without the clusters."""
    config.levels = ["patch"]
    config.patch.base = None


def _chains(config: FeaturesConfig) -> None:
    """The negatives of the patch level move by PYLD; a step of .1 is a tenth of a cluster's width."""
    config.levels = ["patch"]
    assert config.patch.network is not None
    config.patch.network.sampler = PYLDConfig(outer=5, inner=1, lr=0.1, eps=1.0, buffer_size=0)


def _gaussian_pixels(config: PixelsConfig) -> None:
    """The Gaussians of both levels without networks."""
    config.patch.network = config.image.network = None


def _untrained(config: PixelsConfig) -> None:
    """Networks as they are drawn, and nothing but them: the image level would else be the Gaussian."""
    for level in (config.patch, config.image):
        assert level.network is not None
        level.network.training.steps = 0
        level.score.components = "network"


GAUSSIAN = _features(_gaussian)
"""The preset features with Gaussians in place of its energies."""

FEATURES: dict[str, Variant] = {
    "features": preset("features"),
    "features, folds at random": _features(_at_random),
    "features-fast": preset("features-fast"),
    "features-max": preset("features-max"),
    "mean of members": _features(_means),
    "gaussian": _features(_means, _gaussian),
    "mixture": _features(_means, _mixture),
    "mixture by EM": _features(_means, _likelihood),
    "network alone": _features(_means, _network_alone),
    "chains moved": _features(_means, _chains),
}
"""Variants that take features."""

PIXELS: dict[str, Variant] = {
    "pixel-cpu": preset("pixel-cpu"),
    "gaussian": _pixels(_gaussian_pixels),
    "image-baseline": preset("image-baseline"),
    "untrained": _pixels(_untrained),
}
"""Variants that take pixels."""
