"""Configurations from the command line: a preset, then `--config` files, then `--section.key VALUE`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from jsonargparse import Namespace

from patchebm.config.parser import Parser, build_config, preset_file, preset_names
from patchebm.config.schema import DEFAULT_PRESET, Config

RATE = "--false-alarm-rate"
"""How verbs spell the key `false_alarm_rate`."""

GROUPS_HELP = (
    "which images show the same physical part: a csv file with the columns file,group, or a regular "
    "expression for file names with one pair of round brackets around the part, such as 'part(\\d+)_'"
)


def spelled(argv: Sequence[str]) -> list[str]:
    """Arguments with the false-alarm rate spelled as the key: both spellings are taken."""
    return [f"--false_alarm_rate{word[len(RATE) :]}" if word.split("=")[0] == RATE else word for word in argv]


def add_config(parser: Parser, argv: Sequence[str], preset: str = DEFAULT_PRESET) -> None:
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
    preset = given_preset(argv) or preset
    parser.add_argument("--preset", default=preset, help=f"start from one of: {', '.join(preset_names())}")
    add_keys(parser, preset)


def add_keys(parser: Parser, preset: str) -> None:
    """Add `--config` and every key of `Config` to a parser, with a preset's values as defaults.

    Raises:
        ConfigError: an unknown preset; names the nearest.
    """
    file = preset_file(preset)
    parser.add_argument(
        "--config", action="config", help="YAML file with any of the keys below; may be repeated"
    )
    parser.add_class_arguments(Config)
    parser.default_config_files = [str(file)]


def to_config(values: Namespace) -> Config:
    """The `Config` among parsed values."""
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
