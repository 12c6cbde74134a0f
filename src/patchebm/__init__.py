"""Energy-based anomaly detection for industrial images, learned from good parts only."""

from patchebm._version import __version__

__all__ = ["__version__"]
