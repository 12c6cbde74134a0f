"""`patchebm predict RUN IMAGES...`: score pictures, give verdicts, draw heat maps."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from patchebm.config_parser import Parser
from patchebm.data.folders import find_images
from patchebm.data.images import read_image
from patchebm.files import replacing, write_text


def run(argv: Sequence[str]) -> None:
    """Predict as the arguments say."""
    parser = Parser(prog="patchebm predict", description=__doc__)
    parser.add_argument("run", help="folder that `patchebm train` wrote")
    parser.add_argument("images", nargs="+", help="pictures, or folders of pictures")
    parser.add_argument("--out", help="write heat map overlays to this folder")
    parser.add_argument("--json", help="write the predictions to this file, a list of records")
    values = parser.parse_args(list(argv))
    paths = find_images(values.images)

    from patchebm.detector import load
    from patchebm.evaluation.overlay import heat_overlay, side_by_side

    detector = load(values.run)
    records = []
    names = _overlay_names(paths)
    for path, prediction in zip(paths, detector.iterate(paths, heat_maps=bool(values.out)), strict=True):
        record = prediction.record()
        if prediction.heat_map is not None:
            picture = read_image(path)
            overlay = heat_overlay(
                picture, prediction.heat_map, low=detector.heat_low_, high=detector.heat_high_
            )
            target = Path(values.out) / names[path]
            with replacing(target) as temporary:
                side_by_side(picture, overlay, None).save(temporary, format="PNG")
            record["overlay"] = str(target)
        records.append(record)
        verdict = "ANOMALOUS" if prediction.anomalous else "normal"
        print(f"{verdict:<10}{prediction.score:>8.2f}  {path}")
    flagged = sum(record["anomalous"] for record in records)
    print(
        f"{flagged} of {len(records)} pictures are anomalous (score above {detector.threshold_.value:.2f})",
        file=sys.stderr,
    )
    if values.json:
        write_text(values.json, json.dumps(records, indent=1, allow_nan=False) + "\n")


def _overlay_names(paths: Sequence[Path]) -> dict[Path, str]:
    """A distinct file name for each picture: its stem, with its folders where stems repeat."""
    stems: dict[str, int] = {}
    for path in paths:
        stems[path.stem] = stems.get(path.stem, 0) + 1
    names: dict[Path, str] = {}
    for path in paths:
        name = (
            path.stem
            if stems[path.stem] == 1
            else "_".join((*path.parent.parts[-2:], path.name)).replace(".", "_")
        )
        names[path] = f"{name.replace('/', '')}.png"
    return names
