"""`patchebm score SOURCE --model part.patchebm --out DEST`: score an archive of images, in parallel.

SOURCE is a folder, a glob in quotes, a manifest (.csv or .parquet with a column path or uri; other columns
are carried along), or a URI of any of these, such as s3://bucket/images. DEST is a folder or a URI; it gets
Parquet files in `parts` and `summary.json`. An image that cannot be read is a row with `error`. Interrupted,
the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from patchebm.cli.engine import add_engine_options, chosen_engine
from patchebm.cli.options import RATE, RATE_HELP, Parser
from patchebm.cli.terminal import note, say, say_left_out, show
from patchebm.progress import progress_bar

if TYPE_CHECKING:
    from patchebm.scale.summary import Summary


def run(argv: Sequence[str]) -> None:
    """Scores as the arguments say."""
    parser = Parser(prog="patchebm score", description=__doc__)
    parser.add_argument("source", help="folder, glob, manifest, image, or URI of these")
    parser.add_argument("--model", required=True, help="file that `patchebm export` wrote, or its URI")
    parser.add_argument("--out", required=True, help="folder or URI for the results")
    parser.add_argument(
        "--maps", action="store_true", help="draw the anomaly maps of images that are called anomalous"
    )
    parser.add_argument(RATE, type=float, help=f"{RATE_HELP} (default: that of the model)")
    parser.add_argument("--provider", help="what computes: cpu (default), or another such as cuda")
    add_engine_options(parser)
    values = parser.parse(argv)
    engine = chosen_engine(values)
    # Only now what comes with the extra `scale`: the arguments have been checked.
    from patchebm.scale.model import open_model
    from patchebm.scale.score import begin, score
    from patchebm.scale.source import open_source

    predictor, sha256 = open_model(values.model, values.provider)
    if values.false_alarm_rate is not None:
        predictor = predictor.at_false_alarm_rate(values.false_alarm_rate)
    source = open_source(values.source)
    say_left_out(source.left_out)
    begun = begin(source, predictor, sha256, values.out, maps=values.maps)
    if begun.resumed:
        say(f"{values.out}: {begun.images_left} of {begun.plan.images} images are left to score")
    began = time.perf_counter()
    with progress_bar(begun.images_left, "score", "image") as bar:
        summary = score(begun, engine, bar.update)
    seconds = time.perf_counter() - began
    _report(summary, values.out)
    say(f"{begun.images_left} images in {seconds:.1f} s, {begun.images_left / seconds:.1f} images/s")


def _report(summary: Summary, out: str) -> None:
    """Says what was found."""
    facts = summary.to_dict()
    for sentence in summary.notices:
        note(sentence)
    if summary.scored:
        share, rate = 100 * facts["share_anomalous"], 100 * facts["false_alarm_rate"]
        show(
            f"{summary.anomalous} of {summary.scored} images are anomalous ({share:.3g} %); of good parts, "
            f"{rate:g} % may be"
        )
    if summary.errors:
        first = summary.examples[0]["error"]
        show(f"{summary.errors} of {summary.images} images could not be scored, such as {first}")
    if summary.drift is not None:
        show(summary.drift.sentence())
    show(f"results: {out}/parts, {out}/summary.json")
