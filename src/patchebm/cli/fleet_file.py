"""This module reads FLEET.yaml: the products of a fleet, each with options of `patchebm train`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from patchebm.cli.options import Parser
from patchebm.cli.train import train_parser
from patchebm.config.nearest import nearest
from patchebm.config.presets import read_config_file
from patchebm.errors import ConfigError

ENDINGS = (".yaml", ".yml")
"""What the names of such files end in."""

_NAME, _FOLDER, _PRODUCTS = "name", "folder", "products"
# Options that the fleet itself decides on.
_NOT_HERE = {"help", "help_all", "print_config", "out", "overwrite", "SECTION.KEY", "h"}
# Keys whose values are files, which count from the folder of FLEET.yaml; groups may be a pattern, too.
_FILES = ("config", "roi", "groups")


@dataclass(frozen=True)
class FleetEntry:
    """This class is a product as FLEET.yaml describes it.

    Attributes:
        name: of the product.
        folder: of its images.
        options: of `patchebm train`.
        good: names of folders of good parts; None where the file does not say.
    """

    name: str
    folder: Path
    options: tuple[str, ...]
    good: tuple[str, ...] | None


def read_fleet(file: Path) -> list[FleetEntry]:
    """Returns the products of a file.

    Raises:
        ConfigError: it cannot be read, lacks a key or has one that nobody knows, or a value cannot work;
            names the product and the key.
    """
    extended, content = read_config_file(file)
    top = content if extended is None else {**content, "extends": extended}
    _refuse_unknown(f"{file}", top, [_PRODUCTS])
    products = top.get(_PRODUCTS)
    if not isinstance(products, list) or not products:
        raise ConfigError(f"{file}: {_PRODUCTS} must be a list of products, each with {_NAME} and {_FOLDER}")
    entries: dict[str, FleetEntry] = {}
    for number, product in enumerate(products, 1):
        entry = _entry(file, number, product)
        # Some file systems do not tell upper from lower case.
        if (known := entries.setdefault(entry.name.casefold(), entry)) is not entry:
            raise ConfigError(
                f"{file}: {entry.name!r} and {known.name!r} are the names of two products; rename one"
            )
    return list(entries.values())


def _entry(file: Path, number: int, product: Any) -> FleetEntry:
    where = f"{file}: product {number}"
    if not isinstance(product, dict):
        raise ConfigError(f"{where} is {product!r}; it must have the keys {_NAME} and {_FOLDER}")
    for key in (_NAME, _FOLDER):
        if key not in product:
            raise ConfigError(f"{where} has no key {key}; add it")
        if not isinstance(product[key], str):
            raise ConfigError(f"{where}: {key} is {product[key]!r}, which is no text; put it in quotes")
    name = product[_NAME]
    if not name or name.startswith((".", "fleet.")) or set(name) & set("/\\"):
        raise ConfigError(f"{where}: {_NAME} is {name!r}, and a folder cannot be called so; choose another")
    where = f"{file}: product {name!r}"
    settings = {key: value for key, value in product.items() if key not in (_NAME, _FOLDER)}
    known = [option.lstrip("-").replace("-", "_") for option in train_parser().known_options()]
    known = [key for key in dict.fromkeys(known) if key not in _NOT_HERE]
    _refuse_unknown(where, {str(key).partition(".")[0]: None for key in settings}, [_NAME, _FOLDER, *known])
    good = settings.pop("good", None)
    if good is not None and not (isinstance(good, list) and all(isinstance(one, str) for one in good)):
        raise ConfigError(f"{where}: good is {good!r}; give a list of names of folders")
    options = [word for key, value in settings.items() for word in _words(where, file.parent, key, value)]
    return FleetEntry(
        name, file.parent / product[_FOLDER], tuple(options), None if good is None else tuple(good)
    )


def _words(where: str, base: Path, key: str, value: Any) -> Iterator[str]:
    """Yields the words that a key and its value are on the command line."""
    option = f"--{key.replace('_', '-')}"
    # Not the keys of the configuration, whose values are one word of YAML.
    parsed = Parser.known_options(train_parser())
    if key in _FILES:
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, str):
                raise ConfigError(f"{where}: {key} is {one!r}; name a file")
            beside = base / one
            yield from (option, one if key == "groups" and not beside.is_file() else str(beside))
    elif isinstance(value, Mapping):
        for inner, own in value.items():
            yield from _words(where, base, f"{key}.{inner}", own)
    elif option in parsed and isinstance(value, bool):
        yield from [option] * value
    elif option in parsed and isinstance(value, Sequence) and not isinstance(value, str):
        yield from (option, *map(str, value))
    else:
        yield from (option, value if isinstance(value, str) else json.dumps(value))


def _refuse_unknown(where: str, found: Mapping[Any, Any], known: Sequence[str]) -> None:
    for key in found:
        if key not in known:
            raise ConfigError(f"{where} has an unknown key '{key}'{nearest(str(key), known)}")
