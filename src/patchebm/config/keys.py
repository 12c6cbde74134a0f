"""The keys of a configuration, and what their documentation says of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

from docstring_parser import parse

from patchebm.config.choice import Choice
from patchebm.config.kinds import known_kinds


@dataclass(frozen=True)
class Key:
    """One key of a configuration.

    Args:
        name: dotted.
        annotation: the type of its values.
        default: its value where nothing else is said.
        help: one or more sentences.
        section: the class that it is a field of.
        kind: the kind that this class is of, if it is one of several; else empty.
    """

    name: str
    annotation: Any
    default: Any
    help: str
    section: type
    kind: str


def section_class(annotation: Any) -> type | None:
    """Returns the dataclass that a type such as `EnergyConfig | None` holds, or None for a plain value."""
    for member in (annotation, *get_args(annotation)):
        if inspect.isclass(member) and is_dataclass(member):
            return member
    return None


def takes_null(annotation: Any) -> bool:
    """Returns whether null is a value of a type."""
    return NoneType in get_args(annotation)


def keys_of(section: Any, prefix: str = "") -> Iterator[Key]:
    """Yields every key below a section, with the values that it holds as defaults.

    Where `kind` chooses, the keys of the chosen kind come first and those of the others follow with the
    defaults of their classes; after null, the defaults are those that the section has if it is not null.

    Args:
        section: an instance of a configuration class.
        prefix: stands before all names, such as `patch.`.
    """
    cls: Any = type(section)
    hints = get_type_hints(cls)
    helps = field_helps(cls)
    kind = section.kind if isinstance(section, Choice) else ""
    for field in fields(cls):
        name = prefix + field.name
        value = getattr(section, field.name)
        declared = section_class(hints[field.name])
        yield Key(name, hints[field.name], value, helps.get(field.name, ""), cls, kind)
        if declared is None:
            continue
        present = value if value is not None else getattr(cls(), field.name)
        alternatives = [present] if present is not None else []
        if issubclass(declared, Choice):
            alternatives += [c() for c in known_kinds(declared).values() if c is not type(present)]
        for alternative in alternatives:
            yield from keys_of(alternative, f"{name}.")


def config_keys(section: type) -> list[str]:
    """Returns the dotted names of all keys below a configuration class, of every kind."""
    return list(dict.fromkeys(key.name for key in keys_of(section())))


@functools.cache
def field_helps(cls: type) -> dict[str, str]:
    """Returns what the docstrings of a class and its bases say of each field, on one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for one in parse(base.__doc__ or "").params:
            found[one.arg_name] = " ".join((one.description or "").split())
    return found
