"""Reading configurations: types and names are checked key by key, complaints are one sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace

from patchebm.config.nearest import nearest as nearest
from patchebm.config.schema import PRESETS, Config, FeaturesConfig, ImageConfig, PatchConfig
from patchebm.errors import ConfigError


class Parser(ArgumentParser):
    """An argument parser whose complaints are `ConfigError`s, in one sentence."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(exit_on_error=True, allow_abbrev=False, **settings)

    def parse(self, argv: Sequence[str]) -> Namespace:
        """Parse arguments; a file that is no text or no sound YAML is a `ConfigError`, too."""
        try:
            return self.parse_args(list(argv))
        except (UnicodeDecodeError, RecursionError, TypeError) as error:
            raise ConfigError(
                f"a configuration file cannot be read ({error}); use YAML with known keys"
            ) from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing the usage."""
        raise ConfigError(_one_sentence(str(message))) from ex


def build_config(values: dict[str, Any]) -> Config:
    """A `Config` from nested plain values, checked key by key.

    Raises:
        ConfigError: an unknown key, with the nearest known one, or a value of the wrong type.
    """
    parser = Parser()
    parser.add_class_arguments(Config)
    plain = {key: value.as_dict() if isinstance(value, Namespace) else value for key, value in values.items()}
    _check_sections(plain, Config)
    # Before 4.47, which anomalib asks for, jsonargparse names it otherwise.
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    built = instantiate(parser.parse_object(plain))
    config = Config(**{field.name: built[field.name] for field in fields(Config)})
    check_config(config)
    return config


def preset_names() -> list[str]:
    """Names of the built-in presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_preset(name: str) -> Config:
    """The configuration of a built-in preset, to be changed at will.

    Raises:
        ConfigError: there is no such preset; names the nearest.
    """
    return build_config(yaml.safe_load(preset_file(name).read_text(encoding="utf-8")))


def preset_file(name: str) -> Path:
    """The YAML file of a preset. Raises ConfigError, with the nearest name, if there is none."""
    names = preset_names()
    if name not in names:
        raise ConfigError(
            f"there is no preset '{name}'{nearest(name, names)}; presets are {', '.join(names)}"
        )
    return PRESETS / f"{name}.yaml"


def config_keys(kind: type = Config, prefix: str = "") -> list[str]:
    """Every dotted key of a configuration."""
    keys = []
    for field in fields(kind):
        keys.append(prefix + field.name)
        default = field.default_factory() if callable(field.default_factory) else None
        if is_dataclass(default):
            keys += config_keys(type(default), f"{prefix}{field.name}.")
    return keys


# Smallest and largest sensible value of each number; a step of a learning rate is not known in advance, but
# what cannot work is refused here rather than after an hour.
_BOUNDS: dict[str, tuple[float, float]] = {
    "energy.network.width": (1, 100),
    "energy.network.hidden": (1, 65_536),
    "energy.mixture.components": (1, 100_000),
    "energy.mixture.em_steps": (0, 10_000),
    "energy.gaussian.floor": (1e-12, 1e6),
    "chains.steps": (0, 100_000),
    "chains.inner": (1, 100_000),
    "chains.lr": (0, 1e6),
    "chains.eps": (1e-12, 1e6),
    "chains.noise": (0, 10),
    "chains.buffer_size": (0, 10_000_000),
    "chains.restart": (0, 1),
    "training.epochs": (1, 1_000_000),
    "training.batch_size": (2, 100_000),
    "training.lr": (1e-12, 1e6),
    "training.weight_decay": (0, 1e3),
    "training.warmup": (0, 10_000_000),
    "training.decay_from": (0, 1),
    "training.data_noise": (0, 10),
    "training.energy_penalty": (0, 1e6),
    "training.gradient_clip": (0, 1e9),
    "training.averaging": (0, 0.999999),
    "training.checkpoint_every": (1, 10_000_000),
    "score.top": (1, 10_000),
}
_LARGEST_SIDE = 4096


def check_config(config: Config) -> None:
    """Refuse values that have the right type and cannot work. Raises ConfigError, naming the key."""
    if not config.levels or len(set(config.levels)) != len(config.levels):
        raise ConfigError(f"levels {config.levels} must name patch, image or both, once each")
    _within("seed", config.seed, 0, 2**63 - 1)
    if not 0 < config.false_alarm_rate < 1:
        raise ConfigError(
            f"false_alarm_rate {config.false_alarm_rate} is not between 0 and 1; use for instance 0.05"
        )
    folds, members = config.calibration.folds, config.calibration.members
    _within("calibration.folds", folds, 2, 1000)
    if not 1 <= members <= folds:
        raise ConfigError(f"calibration.members is {members}; use 1 to calibration.folds, which is {folds}")
    for name in config.levels:
        level = getattr(config, name)
        depth = level.energy.network.depth
        if depth < 10 or (depth - 4) % 6:
            raise ConfigError(f"{name}.energy.network.depth {depth} is not 6n + 4; use 10, 16, 22 or 28")
        for key, (least, most) in _BOUNDS.items():
            value = level
            for part in key.split("."):
                value = getattr(value, part)
            _within(f"{name}.{key}", value, least, most)
        if level.training.steps is not None:
            _within(f"{name}.training.steps", level.training.steps, 0, 100_000_000)
        if level.energy.gaussian.rank is not None:
            _within(f"{name}.energy.gaussian.rank", level.energy.gaussian.rank, 1, 1_000_000)
        low, high = level.chains.noise_scale
        if not 0 < low <= high < 1e6:
            raise ConfigError(
                f"{name}.chains.noise_scale {[low, high]} must be two rising positive numbers; "
                "use for instance [0.1, 1]"
            )
        _check_level(name, level, on_features=config.features.backbone is not None)
    _check_features(config.features)
    view = config.patch.view
    _within("patch.view.grid", view.grid, 2, 1000)
    _within("patch.view.train_scale", view.train_scale, 1e-3, 10)
    if isinstance(view.spread, tuple):
        for value in view.spread:
            _within("patch.view.spread", value, 1e-3, 1e9)
    sizes = {"patch.view.test_size": view.test_size, "image.view.size": config.image.view.size}
    if view.train_size is not None:
        sizes["patch.view.train_size"] = view.train_size
    for key, size in sizes.items():
        for side in size:
            _within(key, side, 4, _LARGEST_SIDE)


def _check_features(features: FeaturesConfig) -> None:
    """Refuse sizes that no backbone can take; what depends on the backbone is checked when it is loaded."""
    for side in features.size:
        _within("features.size", side, 32, _LARGEST_SIDE)
    for side in features.grid:
        _within("features.grid", side, 2, 1024)
    _within("features.pool", features.pool, 1, 31)
    if not features.pool % 2:
        raise ConfigError(f"features.pool is {features.pool}; use an odd number, 1 for none")


def _check_level(name: str, level: PatchConfig | ImageConfig, *, on_features: bool) -> None:
    """Refuse what makes no sense of pixels, or of features."""
    smooth = level.score.smooth
    _within(f"{name}.score.smooth", smooth, 1, 101)
    if not smooth % 2:
        raise ConfigError(f"{name}.score.smooth is {smooth}; use an odd number, 1 for none")
    for_pixels = {
        f"{name}.energy.network.kind": (level.energy.network.kind, "wrn"),
        f"{name}.energy.base": (level.energy.base, "gaussian"),
        f"{name}.energy.whitening": (level.energy.whitening, "none"),
        f"{name}.score.smooth": (smooth, 1),
    }
    if not on_features:
        if level.energy.kind == "mixture":
            raise ConfigError(f"{name}.energy.kind mixture needs features; set features.backbone")
        for key, (value, needed) in for_pixels.items():
            if value != needed:
                raise ConfigError(f"{key} {value} needs features; set features.backbone, or use {needed}")
        return
    if level.energy.network.kind == "wrn" and level.energy.kind in ("network", "tilted"):
        raise ConfigError(f"{name}.energy.network.kind wrn is for pixels; use mlp or cells on features")
    if level.chains.start in ("corrupted", "uniform"):
        raise ConfigError(
            f"{name}.chains.start {level.chains.start} is for pixels; use noised or informative on features"
        )
    if level.energy.network.kind == "cells" and level.energy.kind == "tilted" and level.energy.tilt:
        raise ConfigError(f"{name}.energy.tilt needs a network of the whole view; use network.kind mlp")
    if level.energy.kind == "tilted" and level.energy.sees_gradient:
        raise ConfigError(f"{name}.energy.sees_gradient is for pixels; set it to false on features")
    if level.energy.gaussian.per_position:
        raise ConfigError(f"{name}.energy.gaussian.per_position is for pixels; set it to false on features")


def _within(key: str, value: float, least: float, most: float) -> None:
    # Written so that NaN fails, too.
    if not least <= value <= most:
        raise ConfigError(f"{key} is {value}; use {least:g} to {most:g}")


def _check_sections(values: Any, kind: type, prefix: str = "") -> None:
    """Refuse a section that is not a mapping: its preset's values would silently be lost."""
    for field in fields(kind):
        section = field.default_factory() if callable(field.default_factory) else None
        if not is_dataclass(section):
            continue
        value = values.get(field.name, {})
        if not isinstance(value, dict):
            raise ConfigError(
                f"{prefix}{field.name} is {value!r}; it must hold keys such as "
                f"{prefix}{field.name}.{fields(section)[0].name}"
            )
        _check_sections(value, type(section), f"{prefix}{field.name}.")


def _one_sentence(message: str) -> str:
    """Shorten jsonargparse's message to one line, and name the nearest key to an unknown one."""
    text = " ".join(line.strip() for line in message.splitlines() if line.strip())
    unknown = re.search(
        r"(?:does not accept (?:nested key|option)|[Uu]nrecognized arguments:?|Key) '?-{0,2}([\w.\-]+)", text
    )
    wrong_type = re.search(r'Parser key "([\w.]+)": Expected a <class \'(\w+)\'>. Got value: (.*)', text)
    pair = re.search(r'Parser key "([\w.]+)": Expected a (?:<class \'tuple\'>|tuple).* Got value: (.*)', text)
    if pair:
        return f"{pair[1]} is '{pair[2]}'; it must be two numbers in brackets: '[A,B]'"
    if wrong_type:
        kind = {"int": "a whole number", "float": "a number", "bool": "true or false"}
        return f"{wrong_type[1]} is '{wrong_type[3]}'; it must be {kind.get(wrong_type[2], wrong_type[2])}"
    group = re.search(r"Group '([\w.]+)'", text)
    if unknown and ("not accept" in text or "nrecognized" in text or "not expected" in text):
        key = unknown[1]
        if group and not key.startswith(group[1]):
            key = f"{group[1]}.{key}"
        return f"unknown key '{key}'{nearest(key, config_keys())}"
    return text
