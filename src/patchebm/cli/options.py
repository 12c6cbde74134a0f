"""What the verbs' command lines have in common."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError

RATE = "--false-alarm-rate"
"""How verbs spell the key `false_alarm_rate`."""

RATE_HELP = "share of good parts that may be called anomalous"

PIXEL_RATE = "--false-pixel-rate"
"""How verbs spell the key `false_pixel_rate`."""

PIXEL_RATE_HELP = "share of the pixels of good parts that may be marked as a region"

DEVICE_HELP = "where a run computes: auto, cpu, cuda, cuda:N, xpu or mps (default: auto)"

ROI_HELP = (
    "mask of the region of interest: what is black or transparent in it is not inspected, and never alarms"
)
GROUPS_HELP = (
    "which images show the same physical part: a csv file with the columns file,group, or a regular "
    "expression for file names with one pair of round brackets around the part, such as 'part(\\d+)_'"
)


GOOD_HELP = (
    "names of the folders that hold good parts beside 'good' itself, in place of ok, normal, pass and "
    "others; folders of any other name hold defects then"
)

SKIP_BAD_HELP = "leave unreadable images out and list them"


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
