"""This module opens the bundle that images are scored with, from a path or a URI."""

from __future__ import annotations

import hashlib

from patchebm.errors import ConfigError, ModelFileError
from patchebm.runtime.bundle import Bundle, parse_bundle, read_bundle
from patchebm.runtime.bundle_predictor import BundlePredictor
from patchebm.runtime.engines import open_engine
from patchebm.scale.storage import Store, is_uri, local_path


def open_model(name: str, provider: str | None = None) -> tuple[BundlePredictor, str]:
    """Returns a bundle, opened for one thread, and the SHA-256 of its file.

    Args:
        name: path or URI of a file that `patchebm export` wrote.
        provider: what computes; see `patchebm.runtime.engines.open_engine`.

    Raises:
        ModelFileError, PatchebmError: as `read_model`.
        ConfigError: a run folder, or its runtime or the provider is not there.
    """
    bundle, sha256 = read_model(name)
    return BundlePredictor(bundle, open_engine(bundle, 1, provider)), sha256


def read_model(name: str) -> tuple[Bundle, str]:
    """Returns a bundle, checked but not opened, and the SHA-256 of its file.

    Args:
        name: path or URI of a file that `patchebm export` wrote.

    Raises:
        ModelFileError: missing, truncated, altered, of another version; says which.
        ConfigError: a run folder.
        PatchebmError: its store cannot be reached or may not be read.
    """
    if is_uri(name):
        folder, _, file = name.rpartition("/")
        try:
            content = Store(folder).read(file)
        except FileNotFoundError as error:
            raise ModelFileError(f"{name} does not exist; check the URI") from error
        bundle = parse_bundle(content, name)
    else:
        path = local_path(name)
        if path.is_dir():
            raise ConfigError(
                f"{path} is a folder, and workers need one file; give what `patchebm export {path} --out "
                "part.patchebm` writes"
            )
        bundle = read_bundle(path)
        content = path.read_bytes()
    return bundle, hashlib.sha256(content).hexdigest()
