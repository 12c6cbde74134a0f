"""`patchebm predict MODEL IMAGES...`: score images, give verdicts, draw anomaly maps.

An image that cannot be read is an ERROR line, and a record with `error` in place of a score; the others are
scored, and the exit status is 2. What was scored before Ctrl-C is kept.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchebm.cli.model import add_model_options, add_region_options, open_model
from patchebm.cli.options import Parser
from patchebm.cli.terminal import note, say, say_left_out, show
from patchebm.errors import ImageError, PatchebmError
from patchebm.files import replacing, write_text
from patchebm.images.listing import list_images
from patchebm.images.newcomers import Newcomers
from patchebm.images.photo import Photo
from patchebm.runtime.overlay import prediction_sheet
from patchebm.runtime.prediction import Prediction, one_in
from patchebm.runtime.predictor import Predictor
from patchebm.runtime.regions import regions_sentence


def run(argv: Sequence[str]) -> None:
    """Predicts as the arguments say."""
    parser = Parser(prog="patchebm predict", description=__doc__)
    parser.add_argument(
        "model", help="folder that `patchebm train` wrote, or file that `patchebm export` wrote"
    )
    parser.add_argument("images", nargs="+", help="images, or folders of images")
    parser.add_argument("--out", help="write overlays, the images with their anomaly maps, to this folder")
    add_model_options(parser)
    add_region_options(parser)
    parser.add_argument("--json", help="write the predictions to this file, a list of records")
    values = parser.parse(argv)
    listing = list_images(values.images)
    say_left_out(listing.left_out)
    names = _overlay_names(listing.images)
    if values.out:
        _check_targets(Path(values.out), names)
    model = open_model(values.model, values).with_smallest_region(values.smallest_region)
    records: list[dict[str, Any]] = []
    newcomers = Newcomers(model.profile, note)
    try:
        photos = [Photo(path, model.decoding_) for path in listing.images]
        for photo, outcome in zip(photos, model.outcomes(photos), strict=True):
            if isinstance(outcome, ImageError):
                records.append({"image": str(photo.path), "error": str(outcome)})
                show(f"{'ERROR':<10}{'':>8}  {'':<22}{outcome}")
                continue
            newcomers.add(photo)
            record = outcome.record()
            if values.out:
                record["overlay"] = _draw(model, photo, outcome, Path(values.out) / names[photo.path])
            records.append(record)
            verdict = "ANOMALOUS" if outcome.anomalous else "normal"
            where = f"  {regions_sentence(outcome.regions)}" if outcome.regions else ""
            show(f"{verdict:<10}{outcome.score:>8.2f}  {one_in(outcome):<22}{photo.path}{where}")
        newcomers.finish()
    finally:
        # Whatever ends it, what was scored so far is kept.
        if values.json and records:
            write_text(values.json, json.dumps(records, indent=1, allow_nan=False) + "\n")
            if len(records) < len(listing.images):
                say(f"{values.json} holds the first {len(records)} of {len(listing.images)} images")
    errors = [record for record in records if "error" in record]
    flagged = sum(record.get("anomalous", False) for record in records)
    say(
        f"{flagged} of {len(records) - len(errors)} images are anomalous (score above "
        f"{model.threshold_.value:.2f}; {model.threshold_.describe()})"
    )
    say(f"regions: {model.require_fitted().pixels.describe()}")
    for sentence in model.about():
        say(sentence)
    if errors:
        raise PatchebmError(
            f"{len(errors)} of {len(records)} images could not be scored, such as {errors[0]['error']}"
        )


def _draw(model: Predictor, photo: Photo, prediction: Prediction, target: Path) -> str:
    """Writes the overlay of a prediction's map; returns where."""
    with replacing(target) as temporary:
        prediction_sheet(model, photo.pixels, prediction).save(temporary, format="PNG")
    return str(target)


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
