"""The module that anomalib's Engine drives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from anomalib import LearningType
from anomalib.data import Batch
from anomalib.metrics import Evaluator, F1Score
from anomalib.models.components import AnomalibModule, MemoryBankMixin
from anomalib.pre_processing import PreProcessor
from anomalib.visualization import Visualizer
from torch import Tensor, nn

from patchebm.anomalib.metrics import AUROC
from patchebm.anomalib.torch_model import EnergyEnsembleModel
from patchebm.config.presets import DEFAULT_PRESET, load_preset
from patchebm.errors import ConfigError
from patchebm.export.build import require_features


class EnergyEnsemble(MemoryBankMixin, AnomalibModule):  # type: ignore[misc]
    """patchebm's detector with the levels of a preset, by default the position level.

    One pass over the good images collects them; at its end the detector is fitted and calibrated on them,
    without validation images. `pred_score` is the score of `patchebm.EnsembleDetector` on the
    same images, `pred_label` its verdict at the false-alarm rate, `anomaly_map` its anomaly map brought to
    (0, 1).

    Images come in at their own size and in [0, 1]: the model resizes them itself, with antialiasing, and
    anomalib's usual pre-processor would normalise them and, once exported, resize them without. Where sizes
    differ, use batches of one: anomalib enlarges the smaller images of a batch.

    >>> data = Folder("flange", root="flange", normal_dir="train/good")   # doctest: +SKIP
    >>> Engine().fit(EnergyEnsemble(), datamodule=data)                    # doctest: +SKIP

    Args:
        preset: of patchebm.
        seed: decides everything random.
        false_alarm_rate: share of good parts that may be called anomalous.
        config: keys of patchebm's configuration that differ from the preset's, nested as in its YAML.
        groups: which images show the same physical part: a csv file with the columns file,group, in which
            paths start at the file's own folder, or a regular expression for the names of images, as
            `patchebm train --groups` takes. None: nothing is known.
        pre_processor: as for every model of anomalib; the default does nothing.
        post_processor: the default does nothing: the scores are calibrated. anomalib's `PostProcessor` maps
            them to [0, 1] by the extremes of the validation images and leaves the verdict as it is.
        evaluator: the default measures AUROC and F1, of scores beyond [0, 1] too.
        visualizer: as for every model of anomalib.

    Raises:
        ConfigError: an unknown preset or key; names the nearest.
    """

    model: EnergyEnsembleModel

    def __init__(
        self,
        preset: str = DEFAULT_PRESET,
        seed: int = 0,
        false_alarm_rate: float = 0.05,
        config: dict[str, Any] | None = None,
        groups: str | None = None,
        pre_processor: nn.Module | bool = True,
        post_processor: nn.Module | bool = True,
        evaluator: Evaluator | bool = True,
        visualizer: Visualizer | bool = True,
    ) -> None:
        super().__init__(
            pre_processor=pre_processor,
            post_processor=post_processor,
            evaluator=evaluator,
            visualizer=visualizer,
        )
        changes = {"seed": seed, "false_alarm_rate": false_alarm_rate}
        self.model = EnergyEnsembleModel(load_preset(preset, config or {}, changes), groups)

    def training_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Tensor:
        """Collect the images of a batch."""
        del args, kwargs
        images = batch.image
        paths = batch.image_path or [""] * len(images)
        self.model.collect(images, [str(path) for path in paths])
        # Lightning wants a loss; nothing is optimised.
        return torch.zeros((), requires_grad=True, device=self.device)

    def fit(self) -> None:
        """Fit on the collected images; anomalib calls it at the end of the first epoch."""
        self.model.fit()

    def validation_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Batch:
        """Score the images of a batch."""
        del args, kwargs
        return batch.update(**self.model(batch.image)._asdict())

    def configure_optimizers(self) -> None:
        """Nothing: the detector trains its energies itself."""

    def to_onnx(
        self,
        export_root: Path | str,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> Path:
        """Export to ONNX: from images `(B, 3, H, W)` in [0, 1] to the outputs of the model, one file.

        Args:
            export_root: folder.
            model_file_name: name of the file without its ending.
            input_size: height and width of the images; None for any.
            **kwargs: for `torch.onnx.export`.

        Raises:
            ConfigError: it is a model of pixels, which cannot be exported.
            PatchebmError: nothing was fitted or loaded.
        """
        require_features(self.model.detector)
        # Below 18 there is no resize with antialiasing.
        settings = {"opset_version": 18, **kwargs}
        file: Path = super().to_onnx(export_root, model_file_name, input_size, **settings)
        return file

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """One pass over the images."""
        return {"gradient_clip_val": 0, "max_epochs": 1, "num_sanity_val_steps": 0, "devices": 1}

    @property
    def learning_type(self) -> LearningType:
        """Good images alone."""
        return LearningType.ONE_CLASS

    @classmethod
    def configure_pre_processor(cls, image_size: tuple[int, int] | None = None) -> PreProcessor:
        """One that leaves images as they are.

        Raises:
            ConfigError: a size was asked for; says which key sets it.
        """
        if image_size is not None:
            raise ConfigError(
                f"image_size {tuple(image_size)}: EnergyEnsemble resizes images itself; set features.size"
            )
        return PreProcessor()

    def configure_post_processor(self) -> None:
        """None: scores are calibrated on good images, and verdicts come with them."""

    @staticmethod
    def configure_evaluator() -> Evaluator:
        """anomalib's default metrics, with an AUROC for scores of any range."""
        return Evaluator(
            test_metrics=[
                AUROC("pred_score", "gt_label", prefix="image_"),
                F1Score(fields=["pred_label", "gt_label"], prefix="image_"),
                AUROC("anomaly_map", "gt_mask", prefix="pixel_", strict=False),
                F1Score(fields=["pred_mask", "gt_mask"], prefix="pixel_", strict=False),
            ]
        )
