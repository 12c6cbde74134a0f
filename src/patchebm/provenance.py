"""What a figure or a model was made from: images and versions."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from patchebm._version import __version__


def data_hash(paths: Sequence[Path], root: Path) -> str:
    """SHA-256 over the names below `root` and the bytes of files, in the given order."""
    names = [(path.relative_to(root) if path.is_relative_to(root) else path).as_posix() for path in paths]
    return combined_hash(names, map(file_hash, paths))


def combined_hash(names: Iterable[str], sha256: Iterable[str]) -> str:
    """Returns the hash of `data_hash` from the names of files and the SHA-256 of each."""
    digest = hashlib.sha256()
    for name, own in zip(names, sha256, strict=True):
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0" + bytes.fromhex(own))
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions() -> dict[str, str]:
    """Versions of all that figures depend on."""
    found = {"patchebm": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in ("torch", "lightning", "numpy", "scipy", "scikit-learn", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
