"""This module says what a figure or a model was made from: images and versions."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from patchebm._version import __version__


def data_hash(paths: Iterable[Path], root: Path) -> str:
    """Returns the SHA-256 over the names below `root` and the bytes of files, in the given order."""
    return combined_hash((name_below(path, root), file_hash(path)) for path in paths)


def combined_hash(files: Iterable[tuple[str, str]]) -> str:
    """Returns the SHA-256 over files that are known by their name and the SHA-256 of their bytes."""
    digest = hashlib.sha256()
    for name, sha256 in files:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + bytes.fromhex(sha256))
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """Returns the SHA-256 of the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def name_below(path: Path, root: Path) -> str:
    """Returns what a file is called in a folder, with forward slashes; elsewhere, its path."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def versions() -> dict[str, str]:
    """Returns the versions of all that figures depend on."""
    found = {"patchebm": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in ("torch", "lightning", "numpy", "scipy", "scikit-learn", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
