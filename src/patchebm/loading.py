"""This module opens a model: a run folder, which needs torch, or an exported bundle, which needs none."""

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
    provider: str | None = None,
    device: str = "auto",
) -> Predictor:
    """Opens a model; every kind of it is a `patchebm.runtime.predictor.Predictor`.

    Args:
        path: a run folder, or a bundle that `patchebm export` wrote.
        backbone: for a run folder, the feature extractor that it was fitted with, if that was your own.
        threads: for a bundle, how many one call uses; None takes all cores that this process may run on.
        batch: for a bundle, how many images of one size are scored together, at most.
        warm_up: for a bundle, whether a grey image is scored at once, so that the first does not wait.
        provider: for a bundle, what computes: cpu unless told, or for instance cuda, or openvino's gpu; see
            `patchebm.runtime.engines.open_engine`.
        device: for a run folder, what computes: auto, cpu, cuda, cuda:N, xpu or mps.

    Raises:
        ModelFileError: missing, truncated, altered or of another version; says which.
        ConfigError: what it needs is not installed, or there is no such provider or device here; says the
            fix.
    """
    if Path(path).is_file():
        if backbone is not None:
            raise ConfigError(f"{path} holds its own backbone; hand over none")
        if device != "auto":
            raise ConfigError(f"{path} is a bundle; say with --provider where it runs, not with --device")
        from patchebm.runtime.bundle_predictor import load_bundle

        return load_bundle(path, threads=threads, batch=batch, warm_up=warm_up, provider=provider)
    if not Path(path).exists():
        # Said here, where torch is not needed for it.
        raise ModelFileError(
            f"{path} does not exist; name a bundle that `patchebm export` wrote, or a run folder"
        )
    if provider is not None:
        raise ConfigError(f"{path} is a run folder; say with --device where it runs, not with --provider")
    from patchebm import detector

    opened: Any = detector.load(path, backbone, device=device)
    return opened  # type: ignore[no-any-return]
