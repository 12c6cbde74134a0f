"""MkDocs hook: what comes from the program in the reference, so that it never goes stale.

The commands are what `patchebm VERB --help` prints, the configuration is read from its dataclasses and
presets, and the Python reference lists what the package exports.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import os
import re
import subprocess
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src"
# Columns of help texts and YAML: as many as a code block of the site shows.
WIDTH = 84
# What the types of keys are called in English; those of `config/numbers.py` say it in their docstrings.
WORDS = {
    "bool": "true or false",
    "str": "text",
    "int": "whole number",
    "float": "number",
    "PositiveInt": "whole number of at least 1",
    "NonNegativeInt": "whole number of at least 0",
    "PositiveFloat": "number above 0",
    "NonNegativeFloat": "number of at least 0",
    "OpenUnitInterval": "number between 0 and 1",
    "ClosedUnitInterval": "number from 0 to 1",
}
# Beside what `patchebm` itself exports: folders whose `__all__` is public, with a title each.
FOLDERS = {"patchebm.energy": "Energies", "patchebm.features": "Backbones"}


def on_config(config: Any) -> None:
    """Take the package of this tree, whatever version is installed."""
    del config
    sys.path.insert(0, str(SOURCE))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what a page marks as generated."""
    return re.sub(
        r"^<!-- generated: (\w+) -->$", lambda match: PARTS[match[1]](), markdown, flags=re.MULTILINE
    )


def commands() -> str:
    """Every verb with its help."""
    from patchebm.cli.fleet import ACTIONS
    from patchebm.cli.main import VERBS

    parts = [_fenced(_run("--help"))]
    for verb, what in VERBS.items():
        text = _run(verb, "--help")
        parts += [f"## {verb}", f"`patchebm {verb}`: {what}.", _fenced(text)]
        if verb == "fleet":
            parts += [_fenced(_run(verb, action, "--help")) for action in ACTIONS]
        if "--help-all" in text:
            everything = textwrap.indent(_fenced(_run(verb, "--help-all")), "    ")
            parts.append(f'??? note "All keys: `patchebm {verb} --help-all`"\n\n{everything}')
    return "\n\n".join(parts)


def _run(*arguments: str) -> str:
    environment = os.environ | {"COLUMNS": str(WIDTH), "PYTHONPATH": str(SOURCE), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "patchebm.cli.main", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    return done.stdout


def _fenced(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```"


def python() -> str:
    """What the package exports, where it is defined."""
    parts = ["## patchebm", *_exported("patchebm")]
    for folder, title in FOLDERS.items():
        parts += [f"## {title}: `{folder}`", *_exported(folder)]
    return "\n\n".join(parts)


def _exported(module: str) -> Iterator[str]:
    package = importlib.import_module(module)
    things = [getattr(package, name) for name in package.__all__]
    for thing in things:
        if inspect.isclass(thing) or inspect.isfunction(thing):
            # What a class inherits from another one on the page is said there.
            bases = thing.__mro__[1:] if inspect.isclass(thing) else ()
            inherited = str(not any(base in things for base in bases)).lower()
            yield (
                f"::: {thing.__module__}.{thing.__qualname__}\n"
                f"    options:\n      inherited_members: {inherited}"
            )


def configuration() -> str:
    """Every configuration class with its keys."""
    from patchebm.config.features import FeaturesConfig
    from patchebm.config.pixels import PixelsConfig

    parts = []
    for root in (FeaturesConfig, PixelsConfig):
        parts.append(f"## Kind `{_kind(root)}`")
        for found, places in _classes(root).items():
            parts.append(_class_section(found, places))
        defaults = yaml.safe_dump(_plain(root()), sort_keys=False, default_flow_style=None, width=WIDTH)
        parts.append(_yaml_note(f"All keys of the kind `{_kind(root)}` with their defaults", defaults))
    return "\n\n".join(parts)


def presets() -> str:
    """Every preset as it is written."""
    files = sorted((SOURCE / "patchebm" / "config" / "presets").glob("*.yaml"))
    return "\n\n".join(_yaml_note(f"`{file.stem}`", file.read_text(encoding="utf-8")) for file in files)


def _yaml_note(title: str, text: str) -> str:
    code = textwrap.indent(f"```yaml\n{text.rstrip()}\n```", "    ")
    return f'??? note "{title}"\n\n{code}'


def _classes(root: type) -> dict[type, list[str]]:
    """Every dataclass of a configuration, and the dotted keys at which it may stand."""
    found: dict[type, list[str]] = {}

    def visit(kind: type, key: str) -> None:
        places = found.setdefault(kind, [])
        if key in places:
            return
        places.append(key)
        for field, hint in _fields(kind):
            below = f"{key}.{field.name}" if key else field.name
            for inner in _dataclasses_in(hint):
                for chosen in _kinds_of(inner):
                    visit(chosen, below)

    visit(root, "")
    return found


def dotted_keys(root: type) -> set[str]:
    """Every key of a kind of run, as it is written in a file with dots between its parts."""
    return {
        f"{place}.{field.name}".lstrip(".")
        for kind, places in _classes(root).items()
        for place in places
        for field in dataclasses.fields(kind)
    }


def _kinds_of(kind: type) -> list[type]:
    """A configuration class, or the classes between which its `kind` chooses."""
    below = [leaf for child in kind.__subclasses__() for leaf in _kinds_of(child)]
    return below or [kind]


def _fields(kind: type) -> list[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(kind)
    return [(field, hints[field.name]) for field in dataclasses.fields(kind)]


def _dataclasses_in(hint: Any) -> list[type]:
    if dataclasses.is_dataclass(hint):
        return [typing.cast(type, hint)]
    return [inner for part in typing.get_args(hint) for inner in _dataclasses_in(part)]


def _class_section(kind: type, places: list[str]) -> str:
    summary, meanings = _docstring(kind)
    names = ", ".join(f"`{place}`" for place in places if place)
    title = f"Kind `{_kind(kind)}` of {names}" if _kind(kind) and names else names or "Top level"
    rows = [
        f"| `{field.name}` | {_type(hint)} | {_default(field)} | {meanings.get(field.name, '')} |"
        for field, hint in _fields(kind)
        if field.name != "kind"
    ]
    text = "It has no keys of its own."
    if rows:
        lines = ["| key | type | default | meaning |", "|---|---|---|---|", *rows]
        text = '<div class="keys" markdown>\n\n' + "\n".join(lines) + "\n\n</div>"
    return f"### {title}\n\n{summary}\n\n{text}"


def _docstring(kind: type) -> tuple[str, dict[str, str]]:
    """The first paragraph of a docstring, and what it says of each argument, bases included."""
    meanings: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = inspect.cleandoc(base.__doc__ or "")
        arguments = text.partition("Args:\n")[2]
        for name, said in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", arguments, re.MULTILINE):
            meanings[name] = " ".join(said.split()).replace("|", "\\|")
    own = inspect.cleandoc(kind.__doc__ or "").partition("\nArgs:")[0].strip()
    return " ".join(own.split()), meanings


def _type(hint: Any) -> str:
    if _dataclasses_in(hint):
        kinds = [_kind(chosen) for inner in _dataclasses_in(hint) for chosen in _kinds_of(inner)]
        named = ", ".join(f"`{name}`" for name in kinds if name)
        said = f"one of the kinds {named}" if named else "keys, see below"
        return f"{said}, or `null`" if type(None) in typing.get_args(hint) else said
    return _words(hint)


def _words(hint: Any) -> str:
    """A type in English."""
    inner = typing.get_args(hint)
    if type(None) in inner:
        return " or ".join(_words(part) for part in inner if part is not type(None)) + ", or `null`"
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if typing.get_origin(hint) is tuple:
        return f"[A, B], each a {_words(inner[0])}"
    if typing.get_origin(hint) is list:
        return f"list; each entry is {_words(inner[0])}"
    if inner:
        return " or ".join(map(_words, inner))
    return WORDS.get(hint.__name__) or (inspect.getdoc(hint) or hint.__name__).removeprefix("a ")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value):
        return f"`{_kind(type(value))}`" if _kind(type(value)) else "see below"
    text = yaml.safe_dump(_plain(value), default_flow_style=True).removesuffix("\n...\n").strip()
    return f"`{text}`"


def _kind(kind: type) -> str:
    """What a configuration file calls a class; empty where there is no choice."""
    return str(getattr(kind, "kind", ""))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return ast.literal_eval(repr(value)) if isinstance(value, str | int | float | bool) else value


PARTS = {"commands": commands, "python": python, "configuration": configuration, "presets": presets}
