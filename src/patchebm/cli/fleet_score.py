"""`patchebm fleet score SOURCE --models FLEET --out DEST`: score each image with the model of its product.

SOURCE is a folder with a folder for each product, its URI, or a manifest (.csv or .parquet) with a column
product beside that of `patchebm score`. FLEET holds the bundles: PRODUCT/part.patchebm, as
`patchebm fleet train` writes them, or PRODUCT.patchebm. DEST/PRODUCT gets what `patchebm score` writes for
an archive; DEST/fleet.html, fleet.csv and fleet.parquet have a line for each product, with `error` if its
images could not be scored. Interrupted, the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from patchebm.cli.engine import add_engine_options, chosen_engine
from patchebm.cli.fleet_products import refuse_failed
from patchebm.cli.options import RATE, RATE_HELP, Parser
from patchebm.cli.terminal import say, say_left_out, show
from patchebm.progress import progress_bar


def run(argv: Sequence[str]) -> None:
    """Scores as the arguments say."""
    parser = Parser(prog="patchebm fleet score", description=__doc__)
    parser.add_argument("source", help="folder of product folders, manifest with a column product, or a URI")
    parser.add_argument("--models", required=True, metavar="FLEET", help="folder of the bundles, or its URI")
    parser.add_argument("--out", required=True, help="folder or URI for the results")
    parser.add_argument(
        "--maps", action="store_true", help="draw the anomaly maps of images that are called anomalous"
    )
    parser.add_argument(RATE, type=float, help=f"{RATE_HELP} (default: that of each model)")
    parser.add_argument("--provider", help="what computes: cpu (default), or another such as cuda")
    add_engine_options(parser)
    values = parser.parse(argv)
    engine = chosen_engine(values)
    # Only now what comes with the extra `scale`: the arguments have been checked.
    from patchebm.scale.fleet_models import FleetModels
    from patchebm.scale.fleet_page import write_fleet_tables
    from patchebm.scale.fleet_score import SCORED, begin_fleet, score_fleet
    from patchebm.scale.fleet_source import open_fleet_source
    from patchebm.scale.storage import Store

    source = open_fleet_source(values.source)
    models = FleetModels(values.models)
    say_left_out(source.left_out)
    begun = begin_fleet(
        source,
        models,
        values.out,
        maps=values.maps,
        false_alarm_rate=values.false_alarm_rate,
        provider=values.provider,
    )
    if begun.images_left < begun.images:
        say(f"{values.out}: {begun.images_left} of {begun.images} images are left to score")
    began = time.perf_counter()
    with progress_bar(begun.images_left, "score", "image") as bar:

        def report(lines: Sequence[dict[str, Any]]) -> None:
            write_fleet_tables(Store(values.out), "Scores of the fleet", SCORED, lines, len(begun.plans))
            bar.set_postfix_str(f"{len(lines)} of {len(begun.plans)} products")

        lines = score_fleet(begun, engine, report, bar.update)
    seconds = time.perf_counter() - began
    for line in lines:
        show(_sentence(line))
    show(f"results: {values.out}/PRODUCT/parts, {values.out}/fleet.html")
    say(f"{begun.images_left} images in {seconds:.1f} s, {begun.images_left / seconds:.1f} images/s")
    refuse_failed(lines)


def _sentence(line: dict[str, Any]) -> str:
    """Returns what the terminal shows of a product."""
    if line["error"] is not None:
        return f"{line['product']}: ERROR {line['error']}"
    found = f"{line['product']}: {line['anomalous']} of {line['scored']} images are anomalous"
    if line["errors"]:
        found += f", {line['errors']} could not be scored"
    return found + (", scores have drifted" if line["drifted"] else "")
