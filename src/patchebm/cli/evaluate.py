"""`patchebm evaluate RUN DATA`: measure a detector on pictures with known truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from patchebm.config_parser import Parser
from patchebm.data.folders import check_pictures, open_image_set
from patchebm.files import write_text


def run(argv: Sequence[str]) -> None:
    """Evaluate as the arguments say."""
    parser = Parser(prog="patchebm evaluate", description=__doc__)
    parser.add_argument("run", help="folder that `patchebm train` wrote")
    parser.add_argument("data", help="folder in MVTec AD layout with test pictures")
    parser.add_argument("--json", help="write the figures to this file")
    values = parser.parse(argv)
    image_set = open_image_set(values.data)
    if image_set.test:
        # A bad picture or mask is named before the others are scored, not after.
        check_pictures(image_set.test)

    from patchebm.detector import load
    from patchebm.evaluation.evaluate import evaluate
    from patchebm.progress import progress_bar

    detector = load(values.run)
    with progress_bar(len(image_set.test), "evaluate", "image") as bar:
        figures = evaluate(detector, image_set, tick=bar.update).figures
    if values.json:
        write_text(values.json, json.dumps(figures, indent=1, allow_nan=False) + "\n")
    print(table(figures))


def table(figures: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [f"{figures['image_set']}: image AUROC by level and defect"]
    names = list(figures["levels"])
    lines.append(f"{'':<20}{'images':>8}" + "".join(f"{name:>10}" for name in names))
    rows: list[tuple[str, int, list[Any]]] = []
    for group in ("per_defect", "per_kind"):
        for key, facts in figures.get(group, {}).items():
            levels = [figures["levels"][name][group][key].get("image_auroc") for name in names]
            rows.append((key, facts["count"], levels))
    overall = [figures["levels"][name].get("image_auroc") for name in names]
    rows.append(("all", figures["anomalous_count"], overall))
    for key, count, values in rows:
        lines.append(f"{key:<20}{count:>8}" + "".join(f"{_number(v):>10}" for v in values))
    for key in ("image_ap", "pixel_auroc", "aupro", "oracle_balanced_accuracy"):
        if key in figures:
            values = [figures["levels"][name].get(key) for name in names]
            lines.append(f"{key:<28}" + "".join(f"{_number(v):>10}" for v in values))
    lines.append(
        f"at threshold {figures['threshold']:.2f}: {figures['false_alarm_count']} of {figures['good_count']} "
        f"good called anomalous, {figures['miss_count']} of {figures['anomalous_count']} anomalous missed"
    )
    lines.append(f"{1000 * figures['seconds']['score_per_image']:.0f} ms an image")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
