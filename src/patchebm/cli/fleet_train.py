"""`patchebm fleet train ROOT|FLEET.yaml --out DEST`: a model for each product, hundreds of them.

ROOT is a folder of product folders, each an image set as `patchebm train` takes it. FLEET.yaml names products
with a folder each, and options of their own. For each product the images are checked as by `patchebm check`,
and a model is trained, exported, and evaluated where truth is known; DEST/fleet.html, fleet.csv and
fleet.parquet say how it went. A product that fails is a line with `error`. Interrupted, the same command goes
on; products whose files or options changed are made again. All options of `patchebm train` can be added; they
hold for all products that do not say otherwise.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from patchebm.cli.engine import add_engine_options, check_engine
from patchebm.cli.fleet_file import ENDINGS, FleetEntry, read_fleet
from patchebm.cli.fleet_products import do_products, workers_and_threads
from patchebm.cli.options import GOOD_HELP, Parser
from patchebm.cli.train import check_options
from patchebm.config.features import FeaturesConfig
from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError, DataError


def run(argv: Sequence[str]) -> None:
    """Trains as the arguments say."""
    parser = Parser(prog="patchebm fleet train", description=__doc__)
    parser.add_argument("root", help="folder of product folders, or a file that names the products")
    parser.add_argument("--out", required=True, help="folder for the models and the table")
    parser.add_argument("--products", nargs="+", default=[], metavar="NAME", help="these products alone")
    parser.add_argument("--good", nargs="+", default=[], metavar="NAME", help=GOOD_HELP)
    add_engine_options(parser)
    values, options = parser.parse_known_args(list(argv))
    check_engine(values)
    if refused := [word for word in options if word.partition("=")[0] == "--overwrite"]:
        raise ConfigError(f"{refused[0]} would delete models of the fleet; choose another --out")
    listed = values.root.lower().endswith(ENDINGS)
    # Wrong options are said at once, and not by every product for itself.
    (check_options if listed else _check_options)([values.root, "--out", values.out, *options])
    entries = _of_file(values, options) if listed else _of_folder(values)

    from patchebm.cli.fleet_check import warnings_before_training
    from patchebm.cli.main import main
    from patchebm.scale.fleet import claim
    from patchebm.scale.product import require_installed
    from patchebm.scale.storage import Store
    from patchebm.scale.trained_product import TrainedProduct

    # On Ray each worker looks for itself.
    if values.engine == "local":
        require_installed("this machine", TrainedProduct)
    workers, threads = workers_and_threads(values, len(entries))
    out = Path(values.out).resolve()
    products = []
    for entry in entries:
        good = tuple(values.good) if entry.good is None else entry.good
        own = (*options, *entry.options)
        data = entry.folder.resolve()
        given = (entry.name, data, out / entry.name, own, good, threads, main)
        products.append(TrainedProduct(*given, warnings_before_training))
    claim(Store(str(out)), "train", options)
    names = [entry.name for entry in entries]
    do_products(values, "Models of the fleet", TrainedProduct.columns, names, products, {}, workers)


def _check_options(argv: Sequence[str]) -> None:
    """Raises ConfigError as `check_options`, and if the model could not be exported."""
    if not isinstance(check_options(argv), FeaturesConfig):
        raise ConfigError(
            "models of a fleet are exported, and a model of pixels cannot be; start from a preset of features"
        )


def _of_folder(values: Namespace) -> list[FleetEntry]:
    from patchebm.evaluation.benchmark import find_sets

    names = find_sets(values.root, values.products, good=values.good)
    return [FleetEntry(name, Path(values.root) / name, (), None) for name in names]


def _of_file(values: Namespace, options: Sequence[str]) -> list[FleetEntry]:
    file = Path(values.root)
    entries = {entry.name: entry for entry in read_fleet(file)}
    for name in values.products:
        if name not in entries:
            raise DataError(f"{file} has no product {name!r}{nearest(name, entries)}")
    for entry in entries.values():
        try:
            _check_options([str(entry.folder), "--out", values.out, *options, *entry.options])
        except ConfigError as error:
            raise ConfigError(f"{file}: product {entry.name!r}: {error}") from error
    return [entries[name] for name in dict.fromkeys(values.products or entries)]
