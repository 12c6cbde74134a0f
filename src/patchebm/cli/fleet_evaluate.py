"""`patchebm fleet evaluate ROOT --models FLEET --out DEST`: measure the model of each product.

ROOT is a folder of product folders, each with test images as `patchebm evaluate` takes them. FLEET holds a
model for each: PRODUCT/part.patchebm or PRODUCT/run, as `patchebm fleet train` writes them, or
PRODUCT.patchebm. DEST/fleet.html, fleet.csv and fleet.parquet have a line for each product, with `error` if
it failed. Interrupted, the same command goes on; products whose files or models changed are measured again.
Options of `patchebm evaluate` can be added, such as --false-alarm-rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchebm.cli.engine import add_engine_options, check_engine
from patchebm.cli.evaluate import evaluate_parser
from patchebm.cli.fleet_products import do_products, workers_and_threads
from patchebm.cli.options import GOOD_HELP, Parser
from patchebm.errors import ConfigError, DataError

# Options that `patchebm evaluate` is given for each product, and what to do instead.
_OWN = {
    "--report": "run `patchebm evaluate` on the product",
    "--json": "look for evaluation.json in the folder of the product",
    "--threads": "say --workers",
}


def run(argv: Sequence[str]) -> None:
    """Measures as the arguments say."""
    parser = Parser(prog="patchebm fleet evaluate", description=__doc__)
    parser.add_argument("root", help="folder of product folders")
    parser.add_argument("--models", required=True, metavar="FLEET", help="folder of the models")
    parser.add_argument("--out", required=True, help="folder for the results and the table")
    parser.add_argument("--products", nargs="+", default=[], metavar="NAME", help="these products alone")
    parser.add_argument("--good", nargs="+", default=[], metavar="NAME", help=GOOD_HELP)
    add_engine_options(parser)
    values, options = parser.parse_known_args(list(argv))
    check_engine(values)
    for word in options:
        if (instead := _OWN.get(word.partition("=")[0])) is not None:
            raise ConfigError(f"{word.partition('=')[0]} is not for a fleet; {instead}")
    # Wrong options are said once and not by every product.
    evaluate_parser().parse([values.models, values.root, *options])

    from patchebm.cli.main import main
    from patchebm.evaluation.benchmark import find_sets
    from patchebm.scale.evaluated_product import EvaluatedProduct
    from patchebm.scale.fleet import claim
    from patchebm.scale.fleet_models import FleetModels
    from patchebm.scale.product import require_installed
    from patchebm.scale.storage import Store

    if values.engine == "local":
        require_installed("this machine", EvaluatedProduct)
    names = find_sets(values.root, values.products, good=values.good)
    models = FleetModels(str(Path(values.models).resolve()), runs=True)
    workers, threads = workers_and_threads(values, len(names))
    out, root = Path(values.out).resolve(), Path(values.root).resolve()
    products, refused = [], {}
    for name in names:
        try:
            model = Path(models.find(name))
        except DataError as error:
            line: dict[str, Any] = dict.fromkeys(EvaluatedProduct.columns)
            refused[name] = line | {"product": name, "error": str(error)}
            continue
        given = (name, root / name, out / name, tuple(options), tuple(values.good), threads, main)
        products.append(EvaluatedProduct(*given, model))
    claim(Store(str(out)), "evaluate", options)
    do_products(values, "Figures of the fleet", EvaluatedProduct.columns, names, products, refused, workers)
