"""This module does the work on many products, a few at a time, on this machine or on Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from typing import Any, Protocol

from patchebm.errors import DataError
from patchebm.scale.product import Product, do
from patchebm.scale.storage import Store

FLEET = "fleet.json"
"""The file that says what was made of a fleet, and with which options."""


class FleetEngine(Protocol):
    """This class distributes products."""

    def do(self, products: Sequence[Product]) -> Generator[dict[str, Any], None, None]:
        """Does the work on products, and yields the line of each as it is done."""


class LocalFleet:
    """This class does the work in processes of this machine.

    Args:
        workers: products at a time.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def do(self, products: Sequence[Product]) -> Generator[dict[str, Any], None, None]:
        """Does the work; see `FleetEngine`."""
        # Each thread waits for a process.
        threads = ThreadPoolExecutor(self.workers)
        running = {threads.submit(do, product) for product in products}
        try:
            while running:
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        finally:
            threads.shutdown(wait=not running, cancel_futures=True)


def claim(store: Store, action: str, options: Sequence[str]) -> None:
    """Takes a folder for what is made of a fleet.

    Args:
        store: of the results, which may be there from an interrupted run.
        action: what is done, such as train.
        options: for all products.

    Raises:
        DataError: it holds something else, or was made with other options.
    """
    facts = {"action": action, "options": list(options)}
    there = store.names()
    if FLEET in there:
        try:
            before = json.loads(store.read(FLEET))
            made_by, shown = before["action"], " ".join(before["options"]) or "none"
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{store.place}/{FLEET} cannot be read; choose another --out") from error
        if made_by != action:
            raise DataError(f"{store.place} was made by `patchebm fleet {made_by}`; choose another --out")
        if before != facts:
            raise DataError(f"{store.place} was made with other options ({shown}); choose another --out")
        return
    if there:
        raise DataError(f"{store.place} is not empty and holds no fleet; choose another --out")
    store.write(FLEET, (json.dumps(facts, indent=1) + "\n").encode())


def do_all(
    names: Sequence[str],
    products: Sequence[Product],
    refused: Mapping[str, dict[str, Any]],
    engine: FleetEngine,
    report: Callable[[Sequence[dict[str, Any]]], object],
) -> list[dict[str, Any]]:
    """Does the work on all products that are not finished; returns the lines of all, in the order of names.

    Args:
        names: of all products.
        products: those that work can be done on.
        refused: the lines of the others, by name.
        engine: distributes the work.
        report: is called with all lines so far, at the beginning and whenever there is a new one.
    """
    lines = dict(refused)
    lines |= {product.name: known for product in products if (known := product.result()) is not None}

    def ordered() -> list[dict[str, Any]]:
        return [lines[name] for name in names if name in lines]

    report(ordered())
    with closing(engine.do([product for product in products if product.name not in lines])) as finished:
        for line in finished:
            lines[line["product"]] = line
            report(ordered())
    return ordered()
