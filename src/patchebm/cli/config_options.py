"""The configuration on the command line: a preset, then `--config` files, then `--section.key VALUE`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from patchebm.cli.options import RATE, RATE_HELP, Parser
from patchebm.config.base import RunConfig
from patchebm.config.build import UnknownKeyError, build_config
from patchebm.config.kinds import known_kinds
from patchebm.config.nearest import nearest
from patchebm.config.presets import (
    DEFAULT_PRESET,
    config_text,
    preset_layers,
    preset_names,
    preset_summary,
    read_config_file,
)
from patchebm.errors import ConfigError

_SHOW = {
    "--help-all": "show every key of the configuration with its default, and rare options",
    "--print-config": "show the configuration as YAML",
}


class ConfigParser(Parser):
    """The arguments of a verb that takes a configuration.

    `--help` shows the options of the verb itself but for the rare ones, `--help-all` these and every key of
    the configuration with the default of the preset, `--print-config` the configuration that would be used,
    as YAML.

    Args:
        preset: what the help names as the default of `--preset`; None for no such option.
        seed: whether there is an option `--seed`.
        **settings: for `Parser`.
    """

    def __init__(self, *, preset: str | None = DEFAULT_PRESET, seed: bool = True, **settings: Any) -> None:
        super().__init__(**settings, epilog=_epilog())
        # Option with its value, and what it does.
        self._rare: list[tuple[str, str]] = []
        group = self.add_argument_group("configuration", "the preset, changed by files, changed by options")
        if preset is not None:
            words = f"where to start from, one of those below (default: {preset})"
            group.add_argument("--preset", metavar="NAME", help=words)
        # `parse_config` takes these out of the arguments before they are parsed: they are here for the help.
        shown = {
            "--config": ("FILE", "YAML file with keys to change; may be repeated"),
            RATE: ("RATE", f"{RATE_HELP} (default: that of the preset)"),
            **({"--seed": ("N", "decides everything random (default: 0)")} if seed else {}),
            "--SECTION.KEY": ("VALUE", "any other key, such as --patch.network.hidden 64"),
        }
        for option, (value, words) in shown.items():
            group.add_argument(option, metavar=value, help=words, default=argparse.SUPPRESS)
        for option, words in _SHOW.items():
            group.add_argument(option, action="store_true", help=words, default=argparse.SUPPRESS)

    def add_rare_option(self, option: str, words: str, **settings: Any) -> None:
        """Adds an option of the verb that `--help-all` shows and `--help` does not.

        Args:
            option: its spelling.
            words: what it does.
            **settings: for `add_argument`, `metavar` among them.
        """
        self.add_argument(option, help=argparse.SUPPRESS, **settings)
        values = settings["metavar"]
        self._rare.append((" ".join([option, *([values] if isinstance(values, str) else values)]), words))

    def known_options(self) -> list[str]:
        """Returns the spelling of every option that stands for no key within a section, too."""
        return [*super().known_options(), *map(_flag, _top_keys())]

    def parse_config(self, argv: Sequence[str]) -> tuple[argparse.Namespace, ConfigChanges]:
        """Returns the arguments of the verb itself, and what the others change of a preset.

        Raises:
            ConfigError: an argument is unknown or wrong, or a file cannot be read.
            SystemExit: help was asked for and has been printed.
        """
        plain, changes = _split(argv)
        asked = set(_SHOW) & set(plain)
        if asked and not {"-h", "--help"} & set(plain):
            config = changes.applied_to(_given_preset(plain))
            if "--help-all" in asked:
                from patchebm.cli.config_help import all_keys, rare_options

                print(rare_options(self._rare) + all_keys(config), end="")
            else:
                print(config_text(config), end="")
            raise SystemExit(0)
        return self.parse(plain), changes


@dataclass
class ConfigChanges:
    """What files and options change of a preset.

    Args:
        files: path, extended preset or None, and values of each configuration file.
        options: text of each option by its dotted key.
    """

    files: list[tuple[str, str | None, dict[str, Any]]] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)

    def applied_to(self, preset: str | None = None) -> RunConfig:
        """Returns the configuration that the changes make of a preset.

        Args:
            preset: None for the one that the first file extends, or else the default.

        Raises:
            ConfigError: a key or a value cannot work.
        """
        for position, (path, extended, _) in enumerate(self.files):
            if extended is not None and (position or preset not in (None, extended)):
                other = f"{self.files[0][0]} comes before it" if position else f"the preset is {preset}"
                raise ConfigError(f"{path} extends {extended}, and {other}; leave one of them out")
            preset = extended or preset
        try:
            layers = [*preset_layers(preset or DEFAULT_PRESET), *(values for _, _, values in self.files)]
            return build_config(*layers, _nested(self.options))
        except UnknownKeyError as error:
            if not any(f"{key}.".startswith(f"{error.key}.") for key in self.options):
                raise
            name, known = _flag(error.key), map(_flag, error.known)
            raise ConfigError(f"unknown option '{name}'{nearest(name, known)}") from error


def _split(argv: Sequence[str]) -> tuple[list[str], ConfigChanges]:
    """Returns the arguments that are no keys of the configuration, and those that are.

    argparse cannot do this: keys of classes outside this package are not known in advance.
    """
    top = _top_keys()
    plain: list[str] = []
    changes = ConfigChanges()
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        if word == "--":
            return [*plain, word, *words], changes
        if not word.startswith("--") or not (key in top or "." in key or key == "config"):
            plain.append(word)
            continue
        if "_" in name:
            raise ConfigError(f"unknown option '--{name}' (did you mean '{_flag(key)}'?)")
        if not equals:
            if not words or words[0].startswith("--"):
                raise ConfigError(f"--{name} needs a value")
            value = words.pop(0)
        if key == "config":
            changes.files.append((value, *read_config_file(value)))
        else:
            changes.options[key] = value
    return plain, changes


def _top_keys() -> list[str]:
    """Returns the keys of all kinds of runs that stand in no section."""
    names = [one.name for run in known_kinds(RunConfig).values() for one in fields(run)]
    return list(dict.fromkeys(names))


def _nested(options: Mapping[str, str]) -> dict[str, Any]:
    """Returns options by their dotted keys as nested values."""
    found: dict[str, Any] = {}
    for key, text in options.items():
        *sections, last = key.split(".")
        place = found
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                break
        if not isinstance(place, dict) or isinstance(place.get(last), dict):
            raise ConfigError(f"{_flag(key)} is given with an option for the same section; leave one out")
        place[last] = text
    return found


def _flag(key: str) -> str:
    """Returns the option that stands for a key."""
    return f"--{key.replace('_', '-')}"


def _given_preset(argv: Sequence[str]) -> str | None:
    """Returns the preset that arguments name, or None."""
    parser = Parser(add_help=False)
    parser.add_argument("--preset")
    name: str | None = parser.parse_known_args(list(argv))[0].preset
    return name


def _epilog() -> str:
    """Returns what stands below the options."""
    names = preset_names()
    width = max(map(len, names))
    lines = [f"  {name:<{width}}  {preset_summary(name)}" for name in names]
    more = "`patchebm train --help-all --preset NAME` lists every key of the configuration with its default."
    return "\n".join(["presets:", *lines, "", more])
