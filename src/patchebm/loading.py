"""Opening a model: a run folder, which needs torch, or an exported bundle, which needs none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from patchebm.errors import ConfigError, ModelFileError

if TYPE_CHECKING:
    from patchebm.features.backbone import Backbone
    from patchebm.runtime.predictor import Predictor


def load(
    path: str | Path,
    backbone: Backbone | None = None,
    *,
    threads: int | None = None,
    batch: int = 1,
    warm_up: bool = False,
    device: str = "auto",
) -> Predictor:
    """Opens a model; every kind of it is a `patchebm.runtime.predictor.Predictor`.

    Args:
        path: a run folder, or a bundle that `patchebm export` wrote.
        backbone: for a run folder, the feature extractor that it was fitted with, if that was your own.
        threads: for a bundle, how many one call uses; None takes all cores that this process may run on.
        batch: for a bundle, how many images of one size are scored together, at most.
        device: for a run folder, where it computes; as for `EnsembleDetector`.
        warm_up: for a bundle, whether a grey image is scored at once, so that the first does not wait.

    Raises:
        ModelFileError: missing, truncated, altered or of another version; says which.
        ConfigError: what it needs is not installed; says how to install it.
    """
    if Path(path).is_file():
        if backbone is not None:
            raise ConfigError(f"{path} holds its own backbone; hand over none")
        from patchebm.runtime.bundle_predictor import load_bundle

        return load_bundle(path, threads=threads, batch=batch, warm_up=warm_up)
    if not Path(path).exists():
        # Said here, where torch is not needed for it.
        raise ModelFileError(
            f"{path} does not exist; name a bundle that `patchebm export` wrote, or a run folder"
        )
    from patchebm import detector

    opened: Any = detector.load(path, backbone, device=device)
    return opened  # type: ignore[no-any-return]
