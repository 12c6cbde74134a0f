"""anomalib's models that are trained: each by its own training step, for a given time of one core.

Their defaults are meant for a GPU: anomalib advises 300 epochs for SuperSimpleNet and took 100 for GLASS,
and a step takes seconds here. So each gets ten minutes (GANomaly one), and the tables state the steps that
these were worth. Scores are those of the torch models: the Lightning modules map them to [0, 1] by the
extremes of the test set.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from anomalib.data import ImageBatch
from anomalib.models.image.ganomaly import Ganomaly
from anomalib.models.image.glass import Glass
from anomalib.models.image.supersimplenet import Supersimplenet
from anomalib.pre_processing import PreProcessor
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Resize

from benchmarks.peers.theirs import LAYERS, STATE, Trunk, prepared
from patchebm.runtime.inputs import Image

# Without what anomalib puts around its models: pre- and post-processing, figures, pictures.
BARE: dict[str, Any] = {
    "pre_processor": False,
    "post_processor": False,
    "evaluator": False,
    "visualizer": False,
}
# Never reached: the time ends a training. Schedules that wait for a share of the epochs never begin.
EPOCHS = 100_000


class Trained:
    """A Lightning module of anomalib that is trained on good images."""

    SIDE: ClassVar[int] = 256
    BATCH: ClassVar[int] = 8
    SECONDS: ClassVar[float] = 600.0
    OPTIMISERS: ClassVar[int] = 1
    """How many of them take a step for each batch."""

    def new(self) -> LightningModule:
        """Returns a module that is not trained yet."""
        raise NotImplementedError

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        del groups
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - anomalib's drawings of noise take the global state
        self._module = self.new()
        loader: DataLoader[Any] = DataLoader(
            [self._prepared(image) for image in images],  # type: ignore[arg-type]
            batch_size=self.BATCH,
            shuffle=True,
            # A last batch of one image has no variance for a batch norm.
            drop_last=len(images) >= self.BATCH,
            collate_fn=lambda images: ImageBatch(
                image=torch.stack(images), gt_label=torch.zeros(len(images), dtype=torch.bool)
            ),
        )
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[_Until(self.SECONDS)],
        )
        trainer.fit(self._module, loader)
        self._module.eval()
        return {"steps": trainer.global_step // self.OPTIMISERS}

    @torch.inference_mode()
    def score(self, image: Image, *, heat_map: bool) -> tuple[float, NDArray[np.float32] | None]:
        output = self._module.model(self._prepared(image)[None])
        if not heat_map or output.anomaly_map is None:
            return float(output.pred_score), None
        return float(output.pred_score), output.anomaly_map.reshape(output.anomaly_map.shape[-2:]).numpy()

    def save(self, folder: Path) -> None:
        state = self._module.model.state_dict().items()
        learned = {name: tensor.contiguous().clone() for name, tensor in state if self.is_learned(name)}
        save_file(learned, folder / STATE)

    def load(self, folder: Path) -> None:
        self._module = self.new()
        self._module.model.load_state_dict(load_file(folder / STATE), strict=False)
        self._module.eval()

    def is_learned(self, name: str) -> bool:
        """Says whether a tensor of the model is not one of the frozen backbone."""
        return (
            "feature_extractor." not in name and "feature_aggregator." not in name and "backbone." not in name
        )

    def _prepared(self, image: Image) -> Tensor:
        return prepared(image, (self.SIDE, self.SIDE))


class SuperSimpleNet(Trained):
    """Supersimplenet at its defaults, on the peers' features."""

    def new(self) -> Supersimplenet:
        return Supersimplenet(backbone=Trunk(), layers=list(LAYERS), **BARE)


class GLASS(Trained):
    """Glass at its defaults, on the peers' features, with as many numbers a patch as these have.

    Its textures are drawn noise: the photographs of textures that its authors take cannot be had here.
    """

    OPTIMISERS = 2

    def new(self) -> Glass:
        trunk = Trunk()
        width = sum(trunk.channels)
        module = Glass(
            input_shape=(self.SIDE, self.SIDE),
            backbone=trunk,
            layers=list(LAYERS),
            pretrain_embed_dim=width,
            target_embed_dim=width,
            **BARE,
        )
        # Images come in [-1, 1] here, and drawing on them needs [0, 1].
        module.model._img_mean.fill_(0.5)
        module.model._img_std.fill_(0.5)
        return module


class GANomaly(Trained):
    """Ganomaly at 32 px; at 256 px, its default, a step takes half a minute."""

    SIDE = 32
    BATCH = 32
    SECONDS = 60.0
    OPTIMISERS = 2

    def new(self) -> Ganomaly:
        # It needs a size, which it takes from its pre-processor.
        others = {**BARE, "pre_processor": PreProcessor(Resize((self.SIDE, self.SIDE)))}
        return Ganomaly(batch_size=self.BATCH, **others)

    def is_learned(self, name: str) -> bool:
        """Says whether scoring needs a tensor."""
        return name.startswith("generator.")


class _Until(Callback):
    """Stops a training after so many seconds of the process's own time: others share the machine."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end = time.process_time() + self._seconds

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.should_stop or time.process_time() >= self._end
