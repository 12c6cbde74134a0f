"""Detectors: `fit` on good images, then `score` and `predict`; `save` and `load`."""

from patchebm.detector.detector import EnsembleDetector, ImageDetector, PatchDetector
from patchebm.detector.persistence import load

__all__ = ["EnsembleDetector", "ImageDetector", "PatchDetector", "load"]
