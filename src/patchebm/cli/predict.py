"""`patchebm predict MODEL IMAGES...`: score images, give verdicts, draw heat maps."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from patchebm.cli.model import add_model_options, open_model
from patchebm.cli.options import Parser
from patchebm.errors import PatchebmError
from patchebm.files import replacing, write_text
from patchebm.images.folders import find_images
from patchebm.images.photo import Photo
from patchebm.runtime.overlay import heat_overlay, side_by_side
from patchebm.runtime.prediction import one_in


def run(argv: Sequence[str]) -> None:
    """Predicts as the arguments say."""
    parser = Parser(prog="patchebm predict", description=__doc__)
    parser.add_argument(
        "model", help="folder that `patchebm train` wrote, or file that `patchebm export` wrote"
    )
    parser.add_argument("images", nargs="+", help="images, or folders of images")
    parser.add_argument("--out", help="write heat map overlays to this folder")
    add_model_options(parser)
    parser.add_argument("--json", help="write the predictions to this file, a list of records")
    values = parser.parse(argv)
    paths = find_images(values.images)

    names = _overlay_names(paths)
    if values.out:
        _check_targets(Path(values.out), names)
    detector = open_model(values.model, values)
    records = []
    photos = [Photo(path) for path in paths]
    for photo, prediction in zip(photos, detector.iterate(photos, heat_maps=bool(values.out)), strict=True):
        record = prediction.record()
        if prediction.heat_map is not None:
            low, high = detector.heat_range(prediction.heat_map)
            overlay = heat_overlay(photo.pixels, prediction.heat_map, low=low, high=high)
            target = Path(values.out) / names[photo.path]
            with replacing(target) as temporary:
                side_by_side(photo.pixels, overlay, None).save(temporary, format="PNG")
            record["overlay"] = str(target)
        records.append(record)
        verdict = "ANOMALOUS" if prediction.anomalous else "normal"
        print(f"{verdict:<10}{prediction.score:>8.2f}  {one_in(prediction):<22}{photo.path}")
    flagged = sum(record["anomalous"] for record in records)
    print(
        f"{flagged} of {len(records)} images are anomalous (score above {detector.threshold_.value:.2f}; "
        f"{detector.threshold_.describe()})",
        file=sys.stderr,
    )
    if values.json:
        write_text(values.json, json.dumps(records, indent=1, allow_nan=False) + "\n")


def _overlay_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Returns a distinct name for each image's overlay: its stem, with its folders where stems repeat."""
    stems = Counter(path.stem for path in paths)
    root = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    names: dict[Path, str] = {}
    for path in dict.fromkeys(paths):
        name = path.stem
        if stems[name] > 1:
            name = "_".join(path.absolute().relative_to(root).parts)
        # `_heat` tells overlays from images, so that no image is ever overwritten by its own.
        candidate, count = f"{name}_heat.png", 1
        while candidate in names.values():
            count += 1
            candidate = f"{name}_{count}_heat.png"
        names[path] = candidate
    return names


def _check_targets(folder: Path, names: dict[Path, str]) -> None:
    """Raises PatchebmError if an overlay would replace one of the images."""
    inputs = {path.resolve() for path in names}
    for path, name in names.items():
        if (folder / name).resolve() in inputs:
            raise PatchebmError(f"the overlay of {path} would replace {folder / name}; choose another --out")
