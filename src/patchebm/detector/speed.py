"""How long a model takes for an image, measured before it is trained."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray

from patchebm.config.features import DefectsConfig, FeaturesConfig
from patchebm.detector.detector import EnsembleDetector
from patchebm.features.backbone import Backbone

# The first images warm up; of the others the median is taken. It is the time of the processor, which other
# work on the machine hardly moves.
WARM_UP, TIMED = 2, 7


def milliseconds(
    config: FeaturesConfig,
    images: Sequence[NDArray[np.float32]],
    backbone: Backbone | None = None,
    roi: NDArray[np.bool_] | None = None,
) -> float:
    """Measure how many milliseconds a decoded image takes on one thread of the CPU, by PyTorch.

    What a model computes for an image depends on its sizes alone, so that one serves which was fitted to a
    few images and trained for one step. Models exported to ONNX are faster.

    Args:
        config: that names its size.
        images: `(H, W, 1 or 3)` float32 in [0, 1]; a handful.
        backbone: for the detector.
        roi: the region of interest.
    """
    trial = deepcopy(config)
    # One defect to learn from for each image, and to weigh levels by.
    trial.defects = DefectsConfig(learn=len(images), local_checks=len(images), global_checks=0)
    for name in trial.levels:
        network = trial.level(name).network
        if network is not None:
            network.training.steps = 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        detector = EnsembleDetector(trial, backbone, device="cpu").fit(images, roi=roi)
        taken = []
        for number in range(WARM_UP + TIMED):
            began = time.process_time()
            detector.score([images[number % len(images)]])
            taken.append(time.process_time() - began)
    finally:
        torch.set_num_threads(threads)
    return 1000 * statistics.median(taken[WARM_UP:])
