"""This module lists the kinds of image files that are read, and the endings of their names."""

from __future__ import annotations

from pathlib import Path

FORMATS: dict[str, tuple[str, ...]] = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "NPY": (".npy",),
}
"""The endings of each kind, in lower case. All but NPY, arrays that numpy saved, are Pillow's names."""

SUFFIXES: frozenset[str] = frozenset(ending for endings in FORMATS.values() for ending in endings)
"""All endings of image files, in lower case; `has_image_suffix` compares with them."""

NAMES = "PNG, JPEG, BMP, TIFF, WebP or .npy"
"""What messages call the kinds that are read."""


def has_image_suffix(path: str | Path) -> bool:
    """Says whether a file's name ends as that of an image does, in lower or upper case."""
    return Path(path).suffix.lower() in SUFFIXES
