"""Reading configurations: types and names are checked key by key, complaints are one sentence."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, Namespace

from patchebm.config import PRESETS, Config
from patchebm.errors import ConfigError


class Parser(ArgumentParser):
    """An argument parser whose complaints are `ConfigError`s, in one sentence."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(exit_on_error=True, allow_abbrev=False, **settings)

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
    built = parser.instantiate(parser.parse_object(plain))
    config = Config(**{field.name: built[field.name] for field in fields(Config)})
    _check(config)
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


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean '...'?`-style clause, or nothing if no known word is near."""
    known = list(known)
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if not found:
        # A key may be right and stand in the wrong section: compare its last part too.
        tails = {name.rsplit(".", 1)[-1]: name for name in reversed(known)}
        near = difflib.get_close_matches(word.rsplit(".", 1)[-1], tails, n=1, cutoff=0.6)
        found = [tails[n] for n in near]
    return f" (did you mean '{found[0]}'?)" if found else ""


def _check(config: Config) -> None:
    """Values that have the right type and cannot work."""
    if not config.levels or len(set(config.levels)) != len(config.levels):
        raise ConfigError(f"levels {config.levels} must name patch, image or both, once each")
    if not 0 < config.false_alarm_rate < 1:
        raise ConfigError(
            f"false_alarm_rate {config.false_alarm_rate} is not between 0 and 1; use for instance 0.05"
        )
    folds, members = config.calibration.folds, config.calibration.members
    if folds < 2:
        raise ConfigError(f"calibration.folds is {folds}; use at least 2")
    if not 1 <= members <= folds:
        raise ConfigError(f"calibration.members is {members}; use 1 to calibration.folds, which is {folds}")
    for name in config.levels:
        level = getattr(config, name)
        network = level.energy.network
        if network.depth < 10 or (network.depth - 4) % 6:
            raise ConfigError(
                f"{name}.energy.network.depth {network.depth} is not 6n + 4; use 10, 16, 22 or 28"
            )
        if network.width < 1:
            raise ConfigError(f"{name}.energy.network.width {network.width} is below 1; use 1, 2, 4, ...")
        if not level.energy.gaussian.floor > 0:
            raise ConfigError(
                f"{name}.energy.gaussian.floor is {level.energy.gaussian.floor}; use for instance 1e-3"
            )
        for key, value, least in (
            ("training.batch_size", level.training.batch_size, 2),
            ("training.steps", 0 if level.training.steps is None else level.training.steps, 0),
            ("training.epochs", level.training.epochs, 1),
            ("training.checkpoint_every", level.training.checkpoint_every, 1),
            ("chains.steps", level.chains.steps, 0),
            ("chains.inner", level.chains.inner, 1),
            ("chains.buffer_size", level.chains.buffer_size, 0),
        ):
            if value < least:
                raise ConfigError(f"{name}.{key} is {value}; use at least {least}")
        if level.training.lr <= 0:
            raise ConfigError(f"{name}.training.lr is {level.training.lr}; use a positive learning rate")
        if not 0 <= level.training.averaging < 1:
            raise ConfigError(
                f"{name}.training.averaging is {level.training.averaging}; use 0 or a decay below 1"
            )


def _one_sentence(message: str) -> str:
    """Shorten jsonargparse's message to one line, and name the nearest key to an unknown one."""
    text = " ".join(line.strip() for line in message.splitlines() if line.strip())
    unknown = re.search(
        r"(?:does not accept (?:nested key|option)|[Uu]nrecognized arguments:?|Key) '?-{0,2}([\w.\-]+)", text
    )
    group = re.search(r"Group '([\w.]+)'", text)
    if unknown and ("not accept" in text or "nrecognized" in text or "not expected" in text):
        key = unknown[1]
        if group and not key.startswith(group[1]):
            key = f"{group[1]}.{key}"
        return f"unknown key '{key}'{nearest(key, config_keys())}"
    return text
