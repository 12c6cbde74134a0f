"""Energy-based anomaly detection for industrial images, learned from good parts only.

>>> import patchebm
>>> detector = patchebm.EnsembleDetector()   # doctest: +SKIP
>>> detector.fit(["good/1.png", "good/2.png", ...])                           # doctest: +SKIP
>>> detector.predict(["new.png"])[0].anomalous                                # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import Any

from patchebm._version import __version__

# Imported when first used: the command line's help and the configuration need no torch.
_HOMES = {
    "Decoding": "patchebm.images.decoding",
    "FeaturesConfig": "patchebm.config.features",
    "EnsembleDetector": "patchebm.detector",
    "ImageDetector": "patchebm.detector",
    "PatchDetector": "patchebm.detector",
    "PixelsConfig": "patchebm.config.pixels",
    "Prediction": "patchebm.runtime.prediction",
    "load": "patchebm.loading",
    "load_preset": "patchebm.config.presets",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'patchebm' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
