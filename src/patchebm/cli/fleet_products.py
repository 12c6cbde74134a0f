"""This module runs `patchebm fleet train` and `fleet evaluate`: work on each product, and a table."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchebm.cli.terminal import say, show
from patchebm.errors import PatchebmError
from patchebm.progress import progress_bar

if TYPE_CHECKING:
    from patchebm.scale.fleet import FleetEngine
    from patchebm.scale.product import Columns, Product


def workers_and_threads(values: Namespace, products: int) -> tuple[int, int]:
    """Returns how many products are worked on at a time, and how many threads each of them may use."""
    from patchebm.device import available_threads

    workers = values.workers or min(available_threads(), products)
    if values.engine == "local":
        return workers, max(1, available_threads() // workers)
    return workers, max(1, int(values.num_cpus or 1))


def do_products(
    values: Namespace,
    caption: str,
    columns: Columns,
    names: Sequence[str],
    products: Sequence[Product],
    refused: Mapping[str, dict[str, Any]],
    workers: int,
) -> None:
    """Does the work on products, keeps the tables up to date, and says what was found.

    Args:
        values: the parsed options of the engine and `out`.
        caption: of the table.
        columns: of the table.
        names: of all products, in the order of the table.
        products: those that work can be done on.
        refused: the lines of the others, by name.
        workers: products at a time.

    Raises:
        PatchebmError: some products failed; names the first.
    """
    from patchebm.scale.fleet import do_all
    from patchebm.scale.fleet_page import write_fleet_tables
    from patchebm.scale.storage import Store

    out = Path(values.out).resolve()
    with progress_bar(len(names), "fleet", "product") as bar:

        def report(lines: Sequence[dict[str, Any]]) -> None:
            write_fleet_tables(Store(str(out)), caption, columns, lines, len(names))
            bar.update(len(lines) - bar.n)

        lines = do_all(names, products, refused, _engine(values, workers), report)
    for line in lines:
        show(_sentence(line))
    say(f"open {out / 'fleet.html'}")
    refuse_failed(lines)


def refuse_failed(lines: Sequence[Mapping[str, Any]]) -> None:
    """Raises PatchebmError if products failed; names the first."""
    failed = [line for line in lines if line["error"] is not None]
    if failed:
        name, error = failed[0]["product"], failed[0]["error"]
        raise PatchebmError(f"{len(failed)} of {len(lines)} products failed, such as {name}: {error}")


def _sentence(line: Mapping[str, Any]) -> str:
    """Returns what the terminal shows of a product."""
    if line["error"] is not None:
        return f"{line['product']}: ERROR {line['error']}"
    found = [str(line["product"])]
    if line.get("images") is not None:
        found.append(f"{line['images']} images")
    if line["threshold"] is not None:
        found.append(f"threshold {line['threshold']:.2f}")
    if line["observed_alarms"] is not None:
        found.append(
            f"{line['observed_alarms']} of {line['good_tested']} good test images are alarms "
            f"({line['expected_alarms']:.1f} expected)"
        )
    if line["defects_missed"] is not None:
        found.append(f"{line['defects_missed']} of {line['defects_tested']} defects missed")
    if line["good_tested"] is None:
        found.append("no test images")
    return f"{found[0]}: {', '.join(found[1:])}, {line['seconds']:.0f} s"


def _engine(values: Namespace, workers: int) -> FleetEngine:
    if values.engine == "local":
        from patchebm.scale.fleet import LocalFleet

        return LocalFleet(workers)
    from patchebm.scale.ray_fleet import RayFleet

    cpus = 1.0 if values.num_cpus is None else values.num_cpus
    return RayFleet(workers, values.address, cpus, values.num_gpus or 0.0)
