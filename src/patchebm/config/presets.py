"""Presets and configuration files: YAML with `extends: PRESET` and the keys that differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from patchebm.config.base import RunConfig
from patchebm.config.build import build_config
from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError

PRESETS = Path(__file__).parent / "presets"
DEFAULT_PRESET = "features"
QUICK_PRESET = "features-fast"


def preset_names(folder: Path = PRESETS) -> list[str]:
    """Returns the names of the built-in presets."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def preset_summary(name: str) -> str:
    """Returns what the first line of a preset's file says of it."""
    return (PRESETS / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")


def load_preset(name: str = DEFAULT_PRESET, *changes: Mapping[str, Any]) -> RunConfig:
    """Returns the configuration of a built-in preset, which may be changed at will.

    Args:
        name: one of `preset_names()`.
        *changes: nested values that change it, each after those before it.

    Raises:
        ConfigError: there is no such preset (names the nearest), or a change cannot work.
    """
    return build_config(*preset_layers(name), *changes)


def preset_layers(name: str, folder: Path = PRESETS, below: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Returns what `build_config` makes a preset of: the presets that it extends, and its own values.

    Args:
        name: of the preset.
        folder: where presets are.
        below: the presets that extend this one.

    Raises:
        ConfigError: there is no such preset, or presets extend each other in a circle.
    """
    names = preset_names(folder)
    if name not in names:
        raise ConfigError(
            f"there is no preset '{name}'{nearest(name, names)}; presets are {', '.join(names)}"
        )
    if name in below:
        raise ConfigError(f"presets extend each other in a circle: {' > '.join((*below, name))}")
    extended, values = read_config_file(folder / f"{name}.yaml")
    return [*(preset_layers(extended, folder, (*below, name)) if extended is not None else []), values]


def read_config_file(path: str | Path) -> tuple[str | None, dict[str, Any]]:
    """Returns the preset that a YAML file extends, or None, and the values that it changes.

    Raises:
        ConfigError: the file cannot be read, or does not hold keys and values.
    """
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        # A name may hold a line break, and a complaint is one line.
        name = " ".join(str(path).split()) or repr(str(path))
        raise ConfigError(f"{name} cannot be read ({error.strerror or error}); name a YAML file") from error
    # PyYAML raises errors of many types, also where a value does not fit its tag.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{path} cannot be read as a configuration file ({reason}); use YAML with known keys"
        ) from error
    values = {} if found is None else found
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no keys; a configuration file has lines such as 'seed: 0'")
    extended = values.pop("extends", None)
    if extended is not None and not isinstance(extended, str):
        raise ConfigError(f"{path}: extends is {extended!r}; it must be the name of one preset")
    return extended, values


def config_text(config: RunConfig) -> str:
    """Returns a configuration as YAML that `--config` reads; every key is in it."""
    return yaml.safe_dump(asdict(config), sort_keys=False, default_flow_style=None, width=100)
