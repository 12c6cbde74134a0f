"""Configurations from nested plain values, checked key by key; complaints are one sentence."""

from __future__ import annotations

import copy
import functools
import re
import reprlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, Literal, NamedTuple, NoReturn, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from patchebm.config.base import RunConfig
from patchebm.config.choice import Choice
from patchebm.config.features import FeaturesConfig
from patchebm.config.keys import config_keys, section_class, takes_null
from patchebm.config.kinds import find_kind, known_kinds
from patchebm.config.nearest import nearest
from patchebm.config.rules import check_rules
from patchebm.errors import ConfigError

# Largest whole number that a tensor holds.
_MAX_WHOLE = 2**63 - 1


class UnknownKeyError(ConfigError):
    """A key does not exist.

    Args:
        key: dotted.
        known: all keys that the run has.
    """

    def __init__(self, key: str, known: list[str]) -> None:
        super().__init__(f"unknown key {key!r}{nearest(key, known)}")
        self.key = key
        self.known = known


def build_config(*layers: Mapping[str, Any]) -> RunConfig:
    """Returns the configuration that nested plain values make of the defaults.

    Args:
        *layers: mappings of keys to values, as YAML gives them; values may also be the text of an option.
            Each layer changes what those before it have made. Where a layer changes a `kind`, what earlier
            layers said of that section is dropped, and the defaults of the new kind hold.

    Raises:
        ConfigError: a key does not exist or belongs to another kind, a value has the wrong type, or values do
            not go together.
    """
    config: RunConfig = FeaturesConfig()
    for layer in layers:
        config = _section(RunConfig, config, layer, _Place())
    check_rules(config)
    return config


def check_config(config: RunConfig) -> RunConfig:
    """Returns a checked copy of a configuration that was made or changed in Python.

    Raises:
        ConfigError: as for `build_config`.
    """
    checked: RunConfig = _section(RunConfig, config, config, _Place())
    check_rules(checked)
    return checked


class _Place(NamedTuple):
    """Where in a configuration a section stands.

    Args:
        key: dotted name of the section; empty for the whole run.
        choices: key, family and class of the sections around it, and of itself, that come in kinds.
    """

    key: str = ""
    choices: tuple[tuple[str, type[Choice], type[Choice]], ...] = ()

    def below(self, name: str) -> _Place:
        """Returns the place of a field."""
        return self._replace(key=f"{self.key}.{name}" if self.key else name)


def _section(declared: type, current: Any, value: Any, place: _Place) -> Any:
    """Returns an instance of a section's class: its current values, changed by the given ones.

    Args:
        declared: the class that the configuration declares, for a `Choice` the base class of its kinds.
        current: what the section holds now, or None.
        value: a mapping, an instance, or the text of an option.
        place: of the section.
    """
    given = _given(declared, value, place)
    cls = declared
    if issubclass(declared, Choice):
        cls = _kind(declared, current, given, place)
        if is_dataclass(value) and type(value) is not cls:
            own = type(value)
            raise ConfigError(
                f"{place.key or 'the configuration'} is a {own.__name__}, and its kind '{given['kind']}' is "
                f"that of {cls.__name__}; set kind to '{own.__module__}:{own.__name__}'"
            )
        place = place._replace(choices=(*place.choices, (place.key, declared, cls)))
    defaults = cls()
    start = current if type(current) is cls else defaults
    names = [field.name for field in fields(cls) if field.init]
    for name in given:
        if name not in names:
            _refuse(place.below(str(name)))
    hints = get_type_hints(cls)
    values = {}
    for name in names:
        now = getattr(start, name)
        if name not in given or (name == "kind" and issubclass(cls, Choice)):
            values[name] = now
        elif inner := section_class(hints[name]):
            if _is_null(given[name]) and takes_null(hints[name]):
                values[name] = None
            else:
                now = getattr(defaults, name) if now is None else now
                values[name] = _section(inner, now, given[name], place.below(name))
        else:
            values[name] = _leaf(hints[name], given[name], place.below(name).key)
    return cls(**values)


def _given(declared: Any, value: Any, place: _Place) -> Mapping[Any, Any]:
    """Returns the values that are given for a section by their names."""
    if is_dataclass(value) and isinstance(value, declared):
        return {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    found = value
    if isinstance(value, str):
        try:
            found = yaml.safe_load(value)
        # PyYAML raises errors of many types.
        except Exception:
            found = value
    if isinstance(found, Mapping):
        return found
    example = place.below("kind" if issubclass(declared, Choice) else fields(declared)[0].name)
    raise ConfigError(
        f"{place.key or 'the configuration'} is {_shown(value)}; it must hold keys such as {example.key}"
    )


def _kind(family: type[Choice], current: Any, given: Mapping[Any, Any], place: _Place) -> type[Choice]:
    """Returns the class of a section that comes in kinds."""
    if "kind" in given:
        return find_kind(family, given["kind"], place.below("kind").key)
    if current is None:
        raise ConfigError(
            f"{place.below('kind').key} is missing; set it to one of {', '.join(known_kinds(family))}"
        )
    return type(current)


def _refuse(place: _Place) -> NoReturn:
    """Raise because a key does not exist here."""
    for key, family, cls in reversed(place.choices):
        name = place.key.removeprefix(f"{key}.")
        others = [
            k for k, other in known_kinds(family).items() if other is not cls and name in config_keys(other)
        ]
        if others:
            raise ConfigError(
                f"{place.key} belongs to kind {' or '.join(others)}; {key or 'the run'} is of kind {cls.kind}"
            )
    (_, _, run), (inner, _, innermost) = place.choices[0], place.choices[-1]
    # Those of the innermost kind too, which may come from outside this package.
    own = [f"{inner}.{name}" for name in config_keys(innermost)] if inner else []
    raise UnknownKeyError(place.key, [*own, *config_keys(run)])


def _is_null(value: Any) -> bool:
    """Returns whether a value, or the text of an option, is null."""
    return value is None or (isinstance(value, str) and value.strip() in ("null", "~", ""))


@functools.cache
def _parser(annotation: Any) -> ArgumentParser:
    """Returns a parser of one value of a type."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=annotation)
    return parser


def _leaf(annotation: Any, value: Any, key: str) -> Any:
    """Returns a plain value of a type, as jsonargparse understands it."""
    try:
        # A copy: jsonargparse puts its own types of numbers into the list that it is given.
        found = _parser(annotation).parse_object({"value": copy.copy(value)}).value
        if found is None and not takes_null(annotation):
            raise ValueError("null is not allowed")
        plain = _plain(found)
    # jsonargparse meets values of every type here, also such that lie within themselves.
    except Exception as error:
        raise ConfigError(f"{key} is {_shown(value)}; it must be {_words(annotation)}") from error
    if _too_large(plain):
        raise ConfigError(f"{key} is {_shown(value)}, which is too large a number")
    return plain


def _plain(value: Any) -> Any:
    """Returns a value with Python's own types in place of those with bounds."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return int(value) if isinstance(value, int) else float(value)


def _too_large(value: Any) -> bool:
    """Returns whether a value is, or holds, a number that a tensor cannot hold."""
    if isinstance(value, (list, tuple)):
        return any(map(_too_large, value))
    return isinstance(value, (int, float)) and not abs(value) <= _MAX_WHOLE


def _shown(value: Any) -> str:
    """Returns a value as it stands in a message."""
    if value is None:
        return "null"
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return " ".join(short.repr(value).split())


def _words(annotation: Any) -> str:
    """Returns what completes the sentence 'it must be ...' for a type."""
    members = get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if get_origin(annotation) is Literal:
        return " or ".join(map(str, members))
    if get_origin(annotation) is tuple:
        return f"two numbers in brackets, [A, B], each {_words(members[0])}"
    if get_origin(annotation) is list:
        return f"a list in brackets, [A, B, ...], each {_words(members[0])}"
    if members:
        return ", or ".join(map(_words, members))
    words = re.sub("^int restricted to be ", "a whole number ", annotation.__doc__ or annotation.__name__)
    words = re.sub("^float restricted to be ", "a number ", words)
    for sign, meaning in ((">", "above "), ("<", "below "), ("≥", "of at least "), ("≤", "at most ")):
        words = words.replace(sign, meaning)
    return words


_WORDS = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "text",
    NoneType: "null",
}
