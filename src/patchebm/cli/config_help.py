"""What `--help-all` prints: every key of a configuration, its explanation and its default."""

from __future__ import annotations

import inspect
import json
import shutil
import textwrap
from collections.abc import Sequence
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from patchebm.config.base import RunConfig
from patchebm.config.choice import Choice
from patchebm.config.keys import Key, keys_of, section_class, takes_null
from patchebm.config.kinds import known_kinds

_INDENT = " " * 8
_INTRODUCTION = (
    "Every key of the configuration as an option, with its default. A YAML file (--config) has the "
    "same keys, nested, with underscores in place of dashes. Where there are several kinds of a section, the "
    "keys of all kinds are listed; the defaults of a kind hold once it is chosen."
)


def all_keys(config: RunConfig) -> str:
    """Returns the help of all keys of a kind of run.

    Args:
        config: the run; its values are the defaults.
    """
    width = _width()
    families: dict[str, type] = {"": RunConfig}
    # By section and kind, in the order in which they come.
    groups: dict[tuple[str, str], list[str]] = {}
    shown = set()
    for key in keys_of(config):
        section, _, name = key.name.rpartition(".")
        declared = section_class(key.annotation)
        if declared is not None:
            families[key.name] = declared
        if (section, key.kind) not in groups:
            groups[section, key.kind] = [textwrap.fill(_title(key, section), width, subsequent_indent="    ")]
        is_kind = name == "kind" and issubclass(key.section, Choice)
        # A section is no option unless it can be left out, and the kinds of one share the key `kind`.
        if (declared is not None and not takes_null(key.annotation)) or (is_kind and key.name in shown):
            continue
        shown.add(key.name)
        kinds = ", ".join(known_kinds(families[section])) if is_kind else ""
        explanation = f"one of {kinds}, or module:Class" if is_kind else key.help
        groups[section, key.kind] += [
            f"  --{key.name.replace('_', '-')} {_value_name(key.annotation)}  (default: {_default(key)})",
            _indented(explanation),
        ]
    blocks = ["\n".join(lines) for lines in groups.values()]
    return "\n\n".join([textwrap.fill(_INTRODUCTION, width), *blocks]) + "\n"


def rare_options(options: Sequence[tuple[str, str]]) -> str:
    """Returns the help of options that are no keys of the configuration; nothing if there are none.

    Args:
        options: each with its value, and what it does.
    """
    if not options:
        return ""
    lines = ["Options that are rarely needed:"]
    for option, words in options:
        lines += [f"  {option}", _indented(words)]
    return "\n".join([*lines, "\n"])


def _indented(words: str) -> str:
    return textwrap.fill(words, _width(), initial_indent=_INDENT, subsequent_indent=_INDENT)


def _width() -> int:
    return min(shutil.get_terminal_size().columns, 120)


def _title(key: Key, section: str) -> str:
    """Returns the heading of a section's keys."""
    about = " ".join((inspect.getdoc(key.section) or "").partition("\n\n")[0].split())
    return f"{section or 'the run'}{f', kind {key.kind}' if key.kind else ''}: {about}"


def _default(key: Key) -> str:
    """Returns the default of a key as YAML on one line."""
    if isinstance(key.default, Choice):
        return f"of kind {key.default.kind}"
    if section_class(key.annotation) is not None and key.default is not None:
        return "not null"
    return json.dumps(key.default).strip('"')


def _value_name(annotation: Any) -> str:
    """Returns what stands for the value of an option."""
    members = get_args(annotation)
    if section_class(annotation) is not None or annotation is NoneType:
        return "null"
    if get_origin(annotation) is Literal:
        return "|".join(members)
    if get_origin(annotation) in (list, tuple):
        return "[A,B]"
    if members:
        return "|".join(map(_value_name, members))
    names = ((bool, "true|false"), (int, "N"), (float, "X"), (str, "TEXT"))
    return next((name for kind, name in names if issubclass(annotation, kind)), "VALUE")
