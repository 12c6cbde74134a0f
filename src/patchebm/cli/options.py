"""What the verbs' command lines have in common."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NoReturn

from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError

if TYPE_CHECKING:
    from patchebm.config.parser import Parser as OldParser
    from patchebm.config.schema import Config

RATE = "--false-alarm-rate"
"""How verbs spell the key `false_alarm_rate`."""

RATE_HELP = "share of good parts that may be called anomalous"

GROUPS_HELP = (
    "which images show the same physical part: a csv file with the columns file,group, or a regular "
    "expression for file names with one pair of round brackets around the part, such as 'part(\\d+)_'"
)


class Parser(argparse.ArgumentParser):
    """The arguments of a verb; complaints about them are `ConfigError`s, in one sentence.

    Args:
        **settings: for `argparse.ArgumentParser`.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Returns the values of arguments.

        Raises:
            ConfigError: an argument is unknown or missing, or its value is wrong.
            SystemExit: help was asked for and has been printed.
        """
        return self.parse_args(list(argv))

    def known_options(self) -> list[str]:
        """Returns the spelling of every option."""
        return [option for action in self._actions for option in action.option_strings]

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage."""
        if unknown := re.match("unrecognized arguments: (.*)", message):
            words = unknown[1].split() or [""]
            option = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
            if option is None:
                raise ConfigError(f"'{words[0]}' is one argument too many; see `{self.prog} --help`")
            raise ConfigError(f"unknown option '{option}'{nearest(option, self.known_options())}")
        if wrong := re.match(r"argument ([^:]+): invalid (int|float) value: (.*)", message):
            kind = {"int": "a whole number", "float": "a number"}[wrong[2]]
            raise ConfigError(f"{wrong[1]} is {wrong[3]}; it must be {kind}")
        raise ConfigError(" ".join(message.split()))


# What follows is of the former configuration and goes with `config/schema.py`.


def spelled(argv: Sequence[str]) -> list[str]:
    """Arguments with the false-alarm rate spelled as the key: both spellings are taken."""
    return [f"--false_alarm_rate{word[len(RATE) :]}" if word.split("=")[0] == RATE else word for word in argv]


def add_config(parser: OldParser, argv: Sequence[str], preset: str = "features") -> None:
    """Add `--preset`, `--config` and every key of `Config` to a parser.

    Args:
        parser: what they are added to.
        argv: the arguments that will be parsed.
        preset: where `argv` names none.

    The preset is looked up in `argv` first, because its values are the defaults of all other options
    (and what `--help` and `--print_config` show).

    Raises:
        ConfigError: an unknown preset; names the nearest.
    """
    from patchebm.config.parser import preset_names

    preset = given_preset(argv) or preset
    parser.add_argument("--preset", default=preset, help=f"start from one of: {', '.join(preset_names())}")
    add_keys(parser, preset)


def add_keys(parser: OldParser, preset: str) -> None:
    """Add `--config` and every key of `Config` to a parser, with a preset's values as defaults.

    Raises:
        ConfigError: an unknown preset; names the nearest.
    """
    from patchebm.config.parser import preset_file
    from patchebm.config.schema import Config

    file = preset_file(preset)
    parser.add_argument(
        "--config", action="config", help="YAML file with any of the keys below; may be repeated"
    )
    parser.add_class_arguments(Config)
    parser.default_config_files = [str(file)]


def to_config(values: Any) -> Config:
    """The `Config` among parsed values."""
    from patchebm.config.parser import build_config
    from patchebm.config.schema import Config

    known = {field.name for field in fields(Config)}
    return build_config({key: value for key, value in vars(values).items() if key in known})


def given_preset(argv: Sequence[str]) -> str | None:
    """The preset that arguments name, or None."""
    for i, word in enumerate(argv):
        if word == "--preset" and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith("--preset="):
            return word.split("=", 1)[1]
    return None
