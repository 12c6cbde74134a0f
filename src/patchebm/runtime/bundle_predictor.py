"""This module scores with an exported model: the same answers as a trained detector, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError, ModelFileError
from patchebm.images.decoding import Decoding
from patchebm.images.profile import Profile
from patchebm.runtime.bundle import Bundle, read_bundle
from patchebm.runtime.calibration import Calibration
from patchebm.runtime.engine import Engine
from patchebm.runtime.engines import open_engine
from patchebm.runtime.expectation import SyntheticDefects
from patchebm.runtime.predictor import Outputs, Predictor


class BundlePredictor(Predictor):
    """This class scores images with an exported model; several threads may call it at once.

    It can be pickled and copied, for workers in processes of their own: each opens its graph again.

    >>> predictor = patchebm.load("part.patchebm")              # doctest: +SKIP
    >>> predictor.predict("new.png")[0].anomalous               # doctest: +SKIP

    Args:
        bundle: as read.
        engine: runs its graph.
        batch: images of one size that go through the graph together, at most.

    Attributes:
        card: what the model is; its keys stand in `docs/bundle-format.md`.
        size: the height and the width to which the graph resizes.

    Raises:
        ModelFileError: the card lacks what scoring needs.
        ConfigError: a batch below 1.
    """

    def __init__(self, bundle: Bundle, engine: Engine, batch: int = 1) -> None:
        if batch < 1:
            raise ConfigError(f"batch {batch} is below 1; use 1 for the least latency")
        self.card = bundle.card
        self.batch = batch
        self._engine = engine
        try:
            self.calibration_ = Calibration.from_dict(self.card)
            self.decoding_ = Decoding.from_dict(self.card.get("decoding"))
            self.synthetic_defects_ = SyntheticDefects.from_dict(self.card.get("synthetic_defects"))
            height, width = map(int, self.card["graph"]["size"])
            self.size = (height, width)
            self._seed = int(self.card["config"]["seed"])
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{bundle.source}: its card lacks what scoring needs ({type(error).__name__}: {error}); "
                "export it again"
            ) from error

    def run(self, images: NDArray[np.float32], *, maps: bool) -> Outputs:
        """Returns what the graph says of images; see `Predictor.run`."""
        names = self.calibration_.level_names
        wanted = ["score", "levels"]
        if maps:
            wanted += ["heat_map", *(f"map_{name}" for name in names)]
        found = self._engine.run(images, wanted)
        level_maps = {name: found[f"map_{name}"] for name in names} if maps else {}
        return Outputs(found["score"], found["levels"], level_maps, found.get("heat_map"))

    def warm_up(self) -> None:
        """Scores a grey image, so that the first real one does not wait for buffers to be laid out."""
        self.run(np.full((1, *self.size, 3), 0.5, dtype=np.float32), maps=False)

    @property
    def profile(self) -> Profile | None:
        """Returns what its card says of the images that the model was trained on."""
        return Profile.from_dict(self.card.get("profile"))

    @property
    def inspected(self) -> str | None:
        """Returns what its card says of the part of images that is inspected."""
        said = self.card.get("inspected")
        return None if said is None else str(said)

    @property
    def seed(self) -> int:
        """Returns the seed that the model was trained with."""
        return self._seed


def load_bundle(
    path: str | Path,
    *,
    threads: int | None = None,
    batch: int = 1,
    warm_up: bool = False,
    provider: str | None = None,
) -> BundlePredictor:
    """Opens a bundle for scoring.

    Args:
        path: file that `patchebm export` wrote.
        threads: that one call uses; None takes all cores that this process may run on.
        batch: images of one size that go through the graph together, at most; 1 answers soonest.
        warm_up: whether a grey image is scored at once, so that the first real one does not wait.
        provider: what computes, such as cpu or cuda; see `patchebm.runtime.engines.open_engine`.

    Raises:
        ModelFileError: missing, truncated, altered, of another version; says which.
        ConfigError: its runtime is not installed, or its precision or the provider is not offered here.
    """
    bundle = read_bundle(path)
    predictor = BundlePredictor(bundle, open_engine(bundle, threads, provider), batch)
    if warm_up:
        predictor.warm_up()
    return predictor
