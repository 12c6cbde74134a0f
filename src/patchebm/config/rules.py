"""What a configuration must fulfil beyond the types of its values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from patchebm.config.base import RunConfig
from patchebm.config.features import (
    CellNetworkConfig,
    FeatureImageConfig,
    FeaturePatchConfig,
    FeaturePositionConfig,
    FeaturesConfig,
)
from patchebm.config.pixels import PatchViewConfig, WideResNetConfig
from patchebm.config.training import (
    CorruptedConfig,
    InformativeConfig,
    NegativesConfig,
    NoisedConfig,
    ShellConfig,
    SyntheticConfig,
    UniformConfig,
)
from patchebm.errors import ConfigError


def check_rules(config: RunConfig) -> None:
    """Refuse values that have the right types and cannot work together.

    Levels that are not fitted are not looked at.

    Raises:
        ConfigError: names the key and says what to do.
    """
    names = config.level_names()
    if not config.levels or len(set(config.levels)) != len(config.levels) or set(config.levels) - set(names):
        raise ConfigError(f"levels {config.levels} must name one or more of {', '.join(names)}, once each")
    calibration = config.calibration
    if set(calibration.refit) - set(names):
        raise ConfigError(f"calibration.refit {calibration.refit} must name levels, of {', '.join(names)}")
    if calibration.members > calibration.folds:
        raise ConfigError(
            f"calibration.members is {calibration.members}; use 1 to calibration.folds, "
            f"which is {calibration.folds}"
        )
    if isinstance(config, FeaturesConfig):
        _odd("features.pool", config.features.pool)
        for key in ("smallest_defect", "time_per_image"):
            if getattr(config.features, key) is not None and config.features.size is not None:
                raise ConfigError(
                    f"features.{key} chooses the size, and features.size is "
                    f"{list(config.features.size)}; leave one of them out (--quick sets the size, too)"
                )
        low, high = config.defects.extents
        if low > high:
            raise ConfigError(f"defects.extents {[low, high]} must ascend; use for instance [8, 90]")
        blocks = config.features.blocks
        if not blocks or blocks != sorted(set(blocks)):
            raise ConfigError(
                f"features.blocks is {blocks}; name one or more blocks, once each and ascending"
            )
    for name in config.levels:
        level = config.level(name)
        if getattr(level, "base", level) is None and level.network is None:
            raise ConfigError(f"{name}.base and {name}.network are both null; a level needs one of them")
        for key, part in _parts(level, name):
            _check_part(key, part)
        network = level.network
        if network is not None and getattr(level, "base", level) is None:
            for switch in ("tilt", "gradient_input"):
                if getattr(network, switch, False):
                    raise ConfigError(f"{name}.network.{switch} needs {name}.base; set it to false")
        if network is not None and isinstance(network.sampler, ShellConfig):
            _check_shell(f"{name}.network", network.negatives, network.sampler)
        if isinstance(config, FeaturesConfig) and network is not None:
            _check_on_features(name, level, network)


def _check_part(key: str, part: Any) -> None:
    """Refuse what does not go together within a section."""
    if isinstance(part, (NoisedConfig, SyntheticConfig)) and part.scale[0] > part.scale[1]:
        raise ConfigError(f"{key}.scale {list(part.scale)} must ascend; use for instance [0.2, 1]")
    if isinstance(part, ShellConfig) and part.shell[0] > part.shell[1]:
        raise ConfigError(f"{key}.shell {list(part.shell)} must ascend; use for instance [1, 1.5]")
    if isinstance(part, WideResNetConfig) and (part.depth < 10 or (part.depth - 4) % 6):
        raise ConfigError(f"{key}.depth {part.depth} is not 6n + 4; use 10, 16, 22 or 28")
    if isinstance(part, FeaturePatchConfig):
        _odd(f"{key}.smooth", part.smooth)
    # The name of a category is checked against the list of them where it is read.
    if (
        isinstance(part, PatchViewConfig)
        and isinstance(part.position_std, str)
        and not part.position_std.isidentifier()
    ):
        raise ConfigError(
            f"{key}.position_std is '{part.position_std}'; it must be two positive numbers in brackets, "
            "[A, B], the name of an MVTec AD category, or null"
        )


def _check_shell(key: str, negatives: NegativesConfig, sampler: ShellConfig) -> None:
    """Refuse chains on shells whose centres are not known."""
    if not isinstance(negatives, (NoisedConfig, SyntheticConfig)):
        raise ConfigError(
            f"{key}.sampler.kind shell moves negatives around the good views that they were made of, and "
            f"those of kind {negatives.kind} have none; use noised or synthetic negatives, or another sampler"
        )
    if sampler.buffer_size:
        raise ConfigError(
            f"{key}.sampler.buffer_size is {sampler.buffer_size}, but chains of kind shell start over each "
            "time; set it to 0"
        )


def _check_on_features(name: str, level: Any, network: CellNetworkConfig) -> None:
    """Refuse what makes no sense of features."""
    if isinstance(network.negatives, (CorruptedConfig, UniformConfig)):
        raise ConfigError(
            f"{name}.network.negatives.kind {network.negatives.kind} is for pixels; use noised or "
            "informative on features"
        )
    position = isinstance(level, FeaturePositionConfig)
    if position and isinstance(network.negatives, InformativeConfig):
        raise ConfigError(
            f"{name}.network.negatives.kind informative is for other levels; use synthetic or noised"
        )
    if not position and isinstance(network.negatives, SyntheticConfig):
        raise ConfigError(
            f"{name}.network.negatives.kind synthetic is for the position level; use noised or informative"
        )
    if position and network.tilt:
        raise ConfigError(
            f"{name}.network.tilt is true, but the Gaussians and the network of a position level meet in the "
            "score; set it to false"
        )
    if isinstance(level, FeatureImageConfig) and network.tilt:
        raise ConfigError(
            f"{name}.network.tilt needs a network of the whole view, and this one gives each cell an energy; "
            "set it to false"
        )


def _odd(key: str, value: int) -> None:
    """Refuse an even number."""
    if not value % 2:
        raise ConfigError(f"{key} is {value}; use an odd number, 1 for none")


def _parts(section: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yields a section and those within it, with their keys."""
    yield key, section
    for field in fields(section):
        value = getattr(section, field.name)
        if is_dataclass(value):
            yield from _parts(value, f"{key}.{field.name}")
