"""anomalib's own models on the features that patchebm's preset looks at.

Each is the torch module of anomalib 2.7, with its own embedding, distances, map and score. What is ours is
the feature extractor that it is handed, EfficientNet-Lite0 (anomalib fetches its own from a hub), the
antialiased resize to 256 x 256 pixels in [-1, 1] as that backbone takes them, and for PatchCore how its bank
is chosen.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from anomalib.data import ImageBatch
from anomalib.models.image.dfkde.torch_model import DfkdeModel
from anomalib.models.image.dfm.torch_model import DFMModel
from anomalib.models.image.ganomaly import Ganomaly
from anomalib.models.image.padim.torch_model import PadimModel
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from anomalib.pre_processing import PreProcessor
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Resize

from benchmarks.coreset import coreset
from patchebm.config.parser import load_preset
from patchebm.detector.reading import Image, array_of
from patchebm.features.efficientnet_lite import EfficientNetLite
from patchebm.features.views import resize, to_tensor

# Strides 8 and 16, which PatchCore and PaDiM take of their own backbones, too.
LAYERS = ("body.4", "body.10")
SIZE = (256, 256)
BATCH = 32


class Trunk(nn.Module):
    """The backbone without its checks, which torch.fx cannot trace, as anomalib wants a module of one's own.

    Its layers are named in ascending order of depth and returned by name: anomalib pairs the names of a timm
    model with its outputs by position, and an unordered list would be silently swapped.
    """

    def __init__(self, backbone: EfficientNetLite) -> None:
        super().__init__()
        self.stem = backbone.stem
        self.body = backbone.body

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.body:
            x = block(x)
        return x


def trunk() -> Trunk:
    features = load_preset("features").features
    return Trunk(EfficientNetLite(features.backbone or "", features.blocks)).eval()


def prepared(image: Image, size: tuple[int, int] = SIZE) -> Tensor:
    return resize(to_tensor(array_of(image, 0), 3), size)


class Peer:
    """A torch model of anomalib that collects good images in training mode and is fitted by one call."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        del groups
        self._model.train()
        with torch.inference_mode():
            for i in range(0, len(images), BATCH):
                self._model(torch.stack([prepared(image) for image in images[i : i + BATCH]]))
            self.finish(torch.Generator().manual_seed(seed))
        self._model.eval()
        return {}

    def finish(self, generator: torch.Generator) -> None:
        del generator
        self._model.fit()

    @torch.inference_mode()
    def score(self, image: Image, *, heat_map: bool) -> tuple[float, NDArray[np.float32] | None]:
        seen = self._model(prepared(image)[None])
        wanted = heat_map and seen.anomaly_map is not None
        return float(seen.pred_score), seen.anomaly_map[0, 0].numpy() if wanted else None

    def state_bytes(self) -> int:
        state = {n: t for n, t in self._model.state_dict().items() if not n.startswith("feature_extractor.")}
        return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


class PatchCore(Peer):
    """PatchcoreModel; the bank is the greedy coreset of a sample, where its own would take hours."""

    def __init__(self) -> None:
        super().__init__(PatchcoreModel(layers=LAYERS, backbone=trunk()))

    def finish(self, generator: torch.Generator) -> None:
        self._model.memory_bank = coreset(torch.vstack(self._model.embedding_store), generator)
        self._model.embedding_store.clear()


class PaDiM(Peer):
    """PadimModel on all features; it has a default number of them only for two backbones."""

    def __init__(self) -> None:
        backbone = trunk()
        channels = EfficientNetLite("efficientnet-lite0", [4, 10]).channels
        super().__init__(PadimModel(backbone=backbone, layers=list(LAYERS), n_features=sum(channels)))


class DFM(Peer):
    """DFMModel: the error of a principal component analysis of the deepest map."""

    def __init__(self) -> None:
        # It takes a view of its maps, which channels-last memory does not allow.
        backbone = trunk().to(memory_format=torch.contiguous_format)
        super().__init__(DFMModel(backbone=backbone, layer=LAYERS[-1]))


class DFKDE(Peer):
    """DfkdeModel: a kernel density of the deepest map's mean."""

    def __init__(self) -> None:
        super().__init__(DfkdeModel(backbone=trunk(), layers=LAYERS[-1:]))


class GANomaly:
    """anomalib's Ganomaly, trained by its own training step for a given time on one core.

    At its defaults, 256 px, a step takes half a minute here; at 32 px a minute is worth about a hundred.
    Scores are those of its torch model: its Lightning module maps them to [0, 1] by the extremes of the test
    set.
    """

    SIDE = 32
    SECONDS = 60.0

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        del groups
        torch.manual_seed(seed)
        side = (self.SIDE, self.SIDE)
        self._module = Ganomaly(
            batch_size=BATCH,
            pre_processor=PreProcessor(Resize(side)),
            post_processor=False,
            evaluator=False,
            visualizer=False,
        )
        loader: DataLoader[Any] = DataLoader(
            [prepared(image, side) for image in images],  # type: ignore[arg-type]
            batch_size=BATCH,
            shuffle=True,
            # A last batch of one image has no variance for a batch norm.
            drop_last=len(images) >= BATCH,
            collate_fn=lambda images: ImageBatch(image=torch.stack(images)),
        )
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[_Until(self.SECONDS)],
        )
        trainer.fit(self._module, loader)
        self._module.model.eval()
        # Two optimisers take a step each for a batch.
        return {"steps": trainer.global_step // 2}

    @torch.inference_mode()
    def score(self, image: Image, *, heat_map: bool) -> tuple[float, NDArray[np.float32] | None]:
        del heat_map
        return float(self._module.model(prepared(image, (self.SIDE, self.SIDE))[None]).pred_score), None

    def state_bytes(self) -> int:
        state = self._module.model.generator.state_dict()
        return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


class _Until(Callback):
    """Stops a training after so many seconds of the process's own time: others share the machine."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end = time.process_time() + self._seconds

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.should_stop or time.process_time() >= self._end
