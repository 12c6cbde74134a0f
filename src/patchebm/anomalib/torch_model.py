"""What anomalib calls the torch model: a module from images to scores and maps."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.data import InferenceBatch
from anomalib.models.components import DynamicBufferMixin
from numpy.typing import NDArray
from torch import Tensor, nn

from patchebm.anomalib.metrics import squashed
from patchebm.config.base import RunConfig
from patchebm.config.features import FeaturesConfig
from patchebm.detector import EnsembleDetector, load
from patchebm.errors import ConfigError, DataError, ImageError, PatchebmError
from patchebm.images.groups import read_groups
from patchebm.run_folder import RunFolder


class EnergyEnsembleModel(DynamicBufferMixin, nn.Module):  # type: ignore[misc]
    """Images to patchebm's scores and anomaly maps.

    The fitted state is two buffers of bytes, the files that `EnsembleDetector.save` writes: a checkpoint of
    anomalib holds them as tensors and nothing in it has to be unpickled. The frozen backbone is not among
    them; it comes from its package and is checked against the hash that was saved.

    Args:
        config: what is fitted.
        groups: a csv file or a pattern that says which images show the same part, or None.

    Raises:
        ConfigError: a backbone in int8.
    """

    card: Tensor
    tensors: Tensor

    def __init__(self, config: RunConfig, groups: str | None = None) -> None:
        super().__init__()
        _require_float(config)
        self.config = config
        self.groups = groups
        self.register_buffer("card", torch.empty(0, dtype=torch.uint8))
        self.register_buffer("tensors", torch.empty(0, dtype=torch.uint8))
        self._detector: EnsembleDetector | None = None
        self._images: list[tuple[str, NDArray[Any]]] = []

    @property
    def detector(self) -> EnsembleDetector:
        """The fitted detector.

        Raises:
            PatchebmError: nothing was fitted or loaded.
        """
        if self._detector is None:
            if not len(self.card):
                raise PatchebmError("this model is not fitted; run Engine.fit, or give a checkpoint")
            with tempfile.TemporaryDirectory() as folder:
                card = self.card.cpu().numpy().tobytes()
                RunFolder(folder).card_file.write_bytes(card)
                # A name alone, wherever else a path might lead.
                name = Path(json.loads(card)["tensors"]).name
                (Path(folder) / name).write_bytes(self.tensors.cpu().numpy().tobytes())
                self._detector = load(folder, device=self.card.device)
        return self._detector

    def collect(self, images: Tensor, paths: Sequence[str]) -> None:
        """Keep images to fit on.

        Args:
            images: `(B, 3, H, W)` in [0, 1].
            paths: where each comes from.
        """
        for path, image in zip(paths, _images(images), strict=True):
            self._images.append((path, _packed(image)))

    def fit(self) -> None:
        """Fit on the images that were collected, in the order of their paths.

        Loaders shuffle, and the same images are to give the same model.

        Raises:
            DataError: too few images, or groups that do not fit them.
            TrainingError: the energy diverged for good.
        """
        ordered = sorted(self._images, key=lambda one: one[0])
        images = [image for _, image in ordered]
        parts = _parts([path for path, _ in ordered], self.groups)
        self._images.clear()
        # Lightning calls where no gradient is kept, and energies are trained by gradients.
        with torch.inference_mode(mode=False), torch.enable_grad():
            detector = EnsembleDetector(self.config, device=self.card.device)
            detector.fit(_Unpacked(images), parts)
        self.hold(detector)

    def hold(self, detector: EnsembleDetector) -> None:
        """Take a fitted detector, one that `patchebm.load` opened for instance.

        Raises:
            ConfigError: its backbone computes in int8.
        """
        _require_float(detector.config)
        with tempfile.TemporaryDirectory() as folder:
            detector.save(folder)
            run = RunFolder(folder)
            for file in run.model_files():
                content = torch.from_numpy(np.fromfile(file, dtype=np.uint8)).to(self.card.device)
                setattr(self, "card" if file == run.card_file else "tensors", content)
        self._detector = detector

    def forward(self, images: Tensor) -> InferenceBatch:
        """Score images of one size, by nothing but operations of torch.

        Args:
            images: `(B, 3, H, W)` float32 in [0, 1].

        Returns:
            `pred_score` `(B,)` float32, that of `EnsembleDetector.score`; `pred_label` `(B,)`, its verdict at
            the threshold that was set on good images; `anomaly_map` `(B, 1, H, W)` in (0, 1), a strictly
            increasing function of its anomaly map that is 0.5 at the threshold of its mask; `pred_mask`, the
            places above that.

        Raises:
            ImageError: values beyond [0, 1]: leave normalising to the model.
        """
        detector = self.detector
        if not torch.compiler.is_compiling() and not (images.min() >= 0 and images.max() <= 1):
            raise ImageError("images have values outside [0, 1]; leave normalising to the model")
        calibration = detector.calibration_
        scorer = detector.scorer_
        if scorer.mean.device != images.device:
            scorer.to(images.device)
        with torch.no_grad():
            scores, _, heat = scorer(images.float().permute(0, 2, 3, 1))
            width = calibration.heat_high - calibration.heat_low
            anomaly_map = squashed((heat[:, None] - calibration.pixels.value) / width)
            return InferenceBatch(
                pred_score=scores.score,
                pred_label=scores.score > calibration.threshold.value,
                anomaly_map=anomaly_map,
                pred_mask=anomaly_map > 0.5,
            )

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        # Whatever was held belongs to the bytes that were there before.
        self._detector = None

    def __getstate__(self) -> dict[str, Any]:
        # A pickle, which anomalib's export to torch is, holds the bytes and not the objects made from them.
        return {**self.__dict__, "_detector": None, "_images": []}


def _require_float(config: RunConfig) -> None:
    if isinstance(config, FeaturesConfig) and config.features.precision != "f32":
        raise ConfigError(
            f"features.precision {config.features.precision} is not for anomalib, which takes operations of "
            "torch alone; use f32, or `patchebm export`"
        )


class _Unpacked(Sequence[NDArray[np.float32]]):
    """Packed images, each of which is unpacked when it is asked for."""

    def __init__(self, packed: list[NDArray[Any]]) -> None:
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed)

    def __getitem__(self, index: Any) -> Any:
        return _unpacked(self._packed[index])


def _parts(paths: Sequence[str], groups: str | None) -> list[str | None] | None:
    """The part that each image shows, where it is known."""
    if groups is None:
        return None
    images = [Path(path).resolve() for path in paths]
    root = Path(groups).resolve().parent
    found = read_groups(images, root, groups)
    parts = [found.get(image) for image in images]
    if not any(parts):
        raise DataError(f"groups file {groups} names none of the training images; paths start at {root}")
    return parts


def _images(images: Tensor) -> list[NDArray[np.float32]]:
    """As `EnsembleDetector` takes them."""
    batch = images.detach().cpu().as_subclass(Tensor).float().permute(0, 2, 3, 1).contiguous().numpy()
    return [_unpacked(_packed(one)) for one in batch]


def _packed(image: NDArray[np.float32]) -> NDArray[Any]:
    """The bytes of an image that was read from bytes, and one channel of a grey one.

    torchvision multiplies bytes by 1/255 where patchebm divides by 255: a last bit, which training turns into
    a score that differs in the third digit. anomalib turns grey into colour, and this turns it back.
    """
    if (image == image[..., :1]).all():
        image = image[..., :1]
    levels = np.rint(image * 255)
    if np.abs(levels / 255 - image).max() > 1e-6 or levels.min() < 0 or levels.max() > 255:
        return np.array(image)
    return np.asarray(levels, dtype=np.uint8)


def _unpacked(image: NDArray[Any]) -> NDArray[np.float32]:
    # np.float32(255), not 255: numpy before 2 would take that for float64.
    return image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image
