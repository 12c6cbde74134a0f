"""This module does the work on one product of a fleet, in a process of its own."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import multiprocessing
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from patchebm.errors import ConfigError, DataError
from patchebm.files import write_text
from patchebm.processes import end_with_parent

ERROR = "patchebm: error: "
"""What the sentence begins with that the command line ends with."""

WARNING, NOTE = "warning: ", "note: "
"""What sentences begin with that are told of a product in the table of its fleet."""

Columns = Mapping[str, type]
"""The columns of a table by name, with the type of their cells, which may also be None."""

WARNINGS: Columns = {"warnings": int, "warning_texts": list}
"""The columns of what there is to warn of: how many sentences, and the sentences."""


@dataclass(frozen=True)
class Product(ABC):
    """This class is a product of a fleet, and where what is made of it is kept. It can be pickled.

    | file of its folder | what it is |
    |---|---|
    | `log.txt` | what was said meanwhile, by interrupted attempts, too |
    | `files.json` | which files and options the result is made of |
    | `result.json` | the line of the table; written last |

    Attributes:
        name: of the product.
        data: folder of its images.
        folder: where its results are kept.
        options: of the verb that does the work.
        good: names of folders of good parts.
        threads: that it may use.
        verb: the command line: takes arguments, and returns its exit status.
    """

    columns: ClassVar[Columns]
    """What is said of each product, in a table of the fleet."""

    needs: ClassVar[Sequence[str]]
    """Modules that the work imports, beside those of the base install."""

    extras: ClassVar[str]
    """The extras that bring them."""

    name: str
    data: Path
    folder: Path
    options: tuple[str, ...]
    good: tuple[str, ...]
    threads: int
    verb: Callable[[Sequence[str]], int]

    @abstractmethod
    def clear(self) -> None:
        """Removes what was made of other files or with other options."""

    @abstractmethod
    def work(self) -> int:
        """Does what is not done yet, and returns the exit status."""

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """Returns what the finished files say, by column.

        Raises:
            DataError: they cannot be read.
        """

    @property
    def good_option(self) -> list[str]:
        """Returns `good` as an option of a verb."""
        return ["--good", *self.good] if self.good else []

    def made_of(self) -> dict[str, Any]:
        """Returns what tells whether a result is that of the files and options that there are now."""
        # Of an option that names a file, such as --roi or --config, the file counts, too.
        named = [Path(word) for word in self.options if os.path.isfile(word)]
        return {**files_below(self.data), "options": [*self.options, *self.good], "named": files_in(named)}

    def result(self) -> dict[str, Any] | None:
        """Returns the line of a product that is finished and made of what is there now, or None."""
        result = json_object(self.folder / "result.json")
        if not result or json_object(self.folder / "files.json") != self.made_of():
            return None
        # Older versions kept fewer columns.
        return dict.fromkeys(self.columns) | result


def require_installed(where: str, kind: type[Product]) -> None:
    """Raises ConfigError if a machine, which messages call `where`, lacks what the work on products needs.

    Else each product would find out for itself, after its training.
    """
    for module in kind.needs:
        if importlib.util.find_spec(module) is None:
            raise ConfigError(
                f"{where} lacks {module}; install it with: pip install 'patchebm[{kind.extras}]'"
            )


def do(product: Product) -> dict[str, Any]:
    """Does the work on a product, or goes on where an interrupted attempt stopped; returns its line.

    Whatever goes wrong, a sentence in `error` says it, and other products are not concerned.
    """
    if (known := product.result()) is not None:
        return known
    began = time.perf_counter()
    line: dict[str, Any] = dict.fromkeys(product.columns) | {"product": product.name}
    try:
        made_of = product.made_of()
        log = product.folder / "log.txt"
        # What an interrupted attempt said stays, but it did not end this one.
        goes_on = json_object(product.folder / "files.json") == made_of
        before = log.stat().st_size if goes_on and log.exists() else 0
        # Another process: what crashes there, or takes all memory, ends nothing else.
        process = multiprocessing.get_context("spawn").Process(target=_work, args=(product, made_of, log))
        process.start()
        process.join()
        content = log.read_bytes() if log.exists() else b""
        line |= warned_of(
            text.removeprefix(mark)
            for text in _lines(content)
            for mark in (WARNING, NOTE)
            if text.startswith(mark)
        )
        if process.exitcode:
            said = _lines(content[before:])
            sentences = [text.removeprefix(ERROR) for text in said if text.startswith(ERROR)]
            ended = f"its process ended with status {process.exitcode}; see {log}"
            return line | {"error": sentences[-1] if sentences else ended}
        line |= product.figures()
        line["seconds"] = round(time.perf_counter() - began, 1)
        write_text(product.folder / "result.json", json.dumps(line, indent=1) + "\n")
    except (OSError, DataError) as error:
        return line | {"error": str(error)}
    return line


def _work(product: Product, made_of: dict[str, Any], log: Path) -> None:
    """Does the work in a process of its own, which ends with its parent."""
    end_with_parent()
    # torch takes the number of threads from here; nothing has imported it yet.
    os.environ["OMP_NUM_THREADS"] = str(product.threads)
    product.folder.mkdir(parents=True, exist_ok=True)
    goes_on = json_object(product.folder / "files.json") == made_of
    with log.open("a" if goes_on else "w", encoding="utf-8", errors="backslashreplace") as stream:
        sys.stdout = sys.stderr = stream
        if not goes_on:
            (product.folder / "result.json").unlink(missing_ok=True)
            product.clear()
            write_text(product.folder / "files.json", json.dumps(made_of) + "\n")
        sys.exit(product.work())


def warned_of(sentences: Iterable[str]) -> dict[str, Any]:
    """Returns the values of `WARNINGS`: each sentence once, though several attempts may have said it."""
    texts = list(dict.fromkeys(sentences))
    return {"warnings": len(texts), "warning_texts": texts}


def _lines(content: bytes) -> list[str]:
    return content.decode("utf-8", errors="replace").splitlines()


def files_below(folder: Path) -> dict[str, Any]:
    """Returns what tells whether the files in a folder changed: their number and `files_in`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {"files": len(files), "sha256": files_in(files, folder)}


def files_in(files: Sequence[Path], folder: Path | None = None) -> str:
    """Returns the SHA-256 over the names (below a folder, if one is given), sizes and times of files."""
    digest = hashlib.sha256()
    for file in files:
        facts = file.stat()
        name = (file if folder is None else file.relative_to(folder)).as_posix()
        digest.update(repr((name, facts.st_size, facts.st_mtime_ns)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def json_object(file: Path) -> dict[str, Any] | None:
    """Returns the JSON object in a file, or None where there is none."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
