"""anomalib's own models on the features of the preset: the one PatchCore and the one PaDiM of all tables.

Each is the torch module of anomalib 2.7, with its own embedding, distances, map and score. What is ours is
the feature extractor that it is handed, EfficientNet-Lite0 (anomalib fetches its own from a hub), and the
antialiased resize to 256 x 256 pixels in [-1, 1] as that backbone takes them.

An earlier version had a PaDiM of its own beside anomalib's: .887 and .869 in the mean of the six sets. What
differed was the features. Ours were local means over 3 x 3 cells, as PatchCore and the preset features take
them, and the deeper map was resized bilinearly; anomalib's PaDiM takes the features as they are, and the
nearest ones of the deeper map. Local means alone lift anomalib's from .873 to .924 on solar_poly (ours: .925)
and leave it at .749 on tire (.754 without). A comparison is to show a peer at its best, so PaDiM gets the
local means, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.models.components.sampling import KCenterGreedy
from anomalib.models.image.dfkde.torch_model import DfkdeModel
from anomalib.models.image.dfm.torch_model import DFMModel
from anomalib.models.image.mh_patchcore.torch_model import MHPatchcoreModel
from anomalib.models.image.padim.torch_model import PadimModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from patchebm.config.features import ExtractorConfig
from patchebm.detector.scorer import PixelInputs
from patchebm.features.efficientnet_lite import EfficientNetLite
from patchebm.features.resize import resize
from patchebm.runtime.inputs import Image, pixels_of

BACKBONE = ExtractorConfig().backbone
# Height and width, as all these methods take them by default.
SIZE = (256, 256)
# Strides 8 and 16, which PatchCore and PaDiM take of their own backbones, too.
BLOCKS = (4, 10)
LAYERS = tuple(f"body.{block}" for block in BLOCKS)
BATCH = 32
# PatchCore's bank, and the random sample of all features from which anomalib's greedy rule chooses it: from
# all features of 700 images the rule would choose for hours.
BANK, SAMPLE = 8192, 30_000
STATE = "state.safetensors"


class Trunk(nn.Module):
    """The backbone without its checks, which torch.fx cannot trace, as anomalib wants a module of one's own.

    Its layers are named in ascending order of depth and returned by name: anomalib pairs the names of a timm
    model with its outputs by position, and an unordered list would be silently swapped.

    Args:
        local_means: the layers `fine` and `coarse` give the maps of `BLOCKS`, averaged over 3 x 3 cells.
    """

    def __init__(self, *, local_means: bool = False) -> None:
        super().__init__()
        backbone = EfficientNetLite(BACKBONE, BLOCKS)
        self.channels = backbone.channels
        self.stem = backbone.stem
        self.body = backbone.body
        self.means = dict(zip(BLOCKS, ("fine", "coarse"), strict=True)) if local_means else {}
        for name in self.means.values():
            self.add_module(name, nn.AvgPool2d(3, stride=1, padding=1))
        self.eval()

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        x = self.stem(x)
        found = []
        for number, block in enumerate(self.body):
            x = block(x)
            if number in self.means:
                found.append(self.get_submodule(self.means[number])(x))
        return found or x


def prepared(image: Image, size: tuple[int, int] = SIZE) -> Tensor:
    """Returns an image `(3, *size)` in [-1, 1]."""
    pixels = torch.from_numpy(pixels_of(image, 0))[None]
    return resize(PixelInputs(3).prepare(pixels), size)[0]


class Peer:
    """A torch model of anomalib that collects good images in training mode and is fitted by one call.

    Args:
        model: not fitted yet.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        del groups
        torch.manual_seed(seed)
        self.model.train()
        with torch.inference_mode():
            for i in range(0, len(images), BATCH):
                self.model(torch.stack([prepared(image) for image in images[i : i + BATCH]]))
            self.finish(seed)
        self.model.eval()
        return {}

    def finish(self, seed: int) -> None:
        """Fits on what was collected."""
        del seed
        self.model.fit()

    @torch.inference_mode()
    def score(self, image: Image, *, heat_map: bool) -> tuple[float, NDArray[np.float32] | None]:
        output = self.model(prepared(image)[None])
        wanted = heat_map and output.anomaly_map is not None
        return float(output.pred_score), output.anomaly_map[0, 0].numpy() if wanted else None

    def save(self, folder: Path) -> None:
        state = self.model.state_dict().items()
        fitted = {
            name: tensor for name, tensor in state if not name.startswith(("feature_extractor.", "backbone."))
        }
        save_file({name: tensor.contiguous().clone() for name, tensor in fitted.items()}, folder / STATE)

    def load(self, folder: Path) -> None:
        self.model.load_state_dict(load_file(folder / STATE), strict=False)
        self.model.eval()


class PatchCore(Peer):
    """PatchcoreModel, its bank chosen by anomalib's greedy rule from a random sample of the features."""

    def __init__(self) -> None:
        super().__init__(PatchcoreModel(layers=LAYERS, backbone=Trunk()))

    def finish(self, seed: int) -> None:
        features = torch.vstack(self.model.embedding_store)
        self.model.embedding_store.clear()
        generator = torch.Generator().manual_seed(seed)
        sample = features[torch.randperm(len(features), generator=generator)[:SAMPLE]]
        greedy = _Greedy(sample, min(1.0, BANK / len(sample)))
        # Its projection draws by numpy's global state otherwise.
        greedy.model.random_state = np.random.RandomState(seed)
        self.model.memory_bank = greedy.sample_coreset()


class _Greedy(KCenterGreedy):
    """anomalib's greedy choice, without a new difference of all features for each chosen one.

    Such large pieces of memory between small ones that stay fragmented the heap until 24 GB were full.
    """

    def update_distances(self, cluster_center: Tensor) -> None:
        centre = self.features[cluster_center].view(1, -1)
        distances = torch.cdist(self.features, centre, compute_mode="donot_use_mm_for_euclid_dist")
        if self.min_distances is None:
            self.min_distances = distances
        else:
            torch.minimum(self.min_distances, distances, out=self.min_distances)


class PaDiM(Peer):
    """PadimModel on all features, as local means; see the head of this file."""

    def __init__(self) -> None:
        backbone = Trunk(local_means=True)
        # It has a default number of features only for two backbones.
        features = sum(backbone.channels)
        super().__init__(PadimModel(backbone=backbone, layers=["fine", "coarse"], n_features=features))


class DFM(Peer):
    """DFMModel: the error of a principal component analysis of the deepest map."""

    def __init__(self) -> None:
        # It takes a view of its maps, which channels-last memory does not allow.
        backbone = Trunk().to(memory_format=torch.contiguous_format)
        super().__init__(DFMModel(backbone=backbone, layer=LAYERS[-1]))


class DFKDE(Peer):
    """DfkdeModel: a kernel density of the deepest map's mean."""

    def __init__(self) -> None:
        super().__init__(DfkdeModel(backbone=Trunk(), layers=LAYERS[-1:]))


class MHPatchCore(Peer):
    """MHPatchcoreModel: whitened patches of 1,024 numbers, and a bank of 1,000 that is built as they come.

    It passes over the images three times: for the principal components, for the covariance, and for the bank.
    """

    def __init__(self) -> None:
        super().__init__(MHPatchcoreModel(backbone=Trunk(), layers=LAYERS))

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        del groups, seed
        model = self.model
        model.train()
        passes = (
            (model.pca, lambda found: found),
            (model.covariance, model.pca),
            (model.memory_bank, lambda found: model.covariance(model.pca(found))),
        )
        with torch.inference_mode():
            for part, before in passes:
                for i in range(0, len(images), BATCH):
                    batch = torch.stack([prepared(image) for image in images[i : i + BATCH]])
                    part.update(before(model(batch)))
                part.finalize()
        model.eval()
        return {}
