"""One method on sets and seeds, in a process of its own; prints the figures of each run as a line of JSON.

python -m benchmarks.peers.worker METHOD DATA/SET:SEED ...
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.output import own_output
from benchmarks.peers.methods import METHODS
from patchebm.evaluation.metrics import image_metrics, pixel_metrics
from patchebm.features.resize import resize
from patchebm.images.folders import open_image_set
from patchebm.images.reading import read_image, read_masks


def run(name: str, folder: Path, seed: int) -> dict[str, Any]:
    """Fits on train/good, scores the test images once, and returns the figures."""
    entry = METHODS[name]
    image_set = open_image_set(folder)
    images = [p for p in image_set.test if p.anomalous is not None]
    method = entry.make()
    # Time of this process: the machine may be shared.
    began = time.process_time()
    facts = method.fit([p.path for p in image_set.train], [p.group for p in image_set.train], seed)
    ended = time.process_time()
    scores: list[float] = []
    maps: list[NDArray[np.float32]] = []
    masks: list[NDArray[np.bool_]] = []
    for image in images:
        pixels = read_image(image.path)
        score, heat = method.score(pixels, heat_map=entry.maps and image_set.has_masks)
        scores.append(score)
        if heat is not None and (image.masks or not image.anomalous):
            size = (pixels.shape[0], pixels.shape[1])
            maps.append(resize(torch.from_numpy(heat)[None, None], size)[0, 0].numpy())
            masks.append(read_masks(image.masks, size).pixels if image.masks else np.zeros(size, dtype=bool))
    labels = np.array([bool(p.anomalous) for p in images])
    return {
        "set": image_set.name,
        "variant": name,
        "seed": seed,
        **image_metrics(labels, scores),
        **(pixel_metrics(maps, masks) if maps else {}),
        "fit_cpu_seconds": round(ended - began, 1),
        **facts,
    }


def main(name: str, jobs: list[str], out: TextIO) -> None:
    for job in jobs:
        folder, _, seed = job.rpartition(":")
        try:
            row = run(name, Path(folder), int(seed))
        except Exception:
            # One bad set does not lose the others.
            traceback.print_exc()
            row = {"failed": job}
        out.write(json.dumps(row) + "\n")
        out.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:], own_output())
