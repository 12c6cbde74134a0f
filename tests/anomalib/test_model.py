"""What goes in and out of the plug-in, without a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip(
    "anomalib", reason="anomalib is not installed (make test-anomalib installs it)", exc_type=ImportError
)

from anomalib.data import ImageBatch
from anomalib.metrics import AUROC as TheirAUROC

from patchebm.anomalib import EnergyEnsemble
from patchebm.anomalib.metrics import AUROC, squashed
from patchebm.anomalib.torch_model import EnergyEnsembleModel
from patchebm.detector import EnsembleDetector
from patchebm.errors import ConfigError, DataError, ImageError, PatchebmError
from tests.tiny import flanges, tiny_config, tiny_features


def scored(scores: list[float], labels: list[int]) -> ImageBatch:
    batch = ImageBatch(image=torch.zeros(len(scores), 3, 8, 8))
    return batch.update(pred_score=torch.tensor(scores), gt_label=torch.tensor(labels))


def test_auroc_ranks_scores_of_any_range_whatever_the_batches() -> None:
    # Perfectly ranked. torchmetrics leaves the batch that lies in [0, 1] as it is; others become sigmoids.
    batches = [scored([-3.0, -0.5], [0, 0]), scored([0.1, 0.2], [1, 1]), scored([30.0, 40.0], [1, 1])]
    theirs, ours = TheirAUROC(fields=["pred_score", "gt_label"]), AUROC("pred_score", "gt_label", prefix="")
    for batch in batches:
        theirs.update(batch)
        ours.update(batch)
    assert float(theirs.compute()) < 1
    assert float(ours.compute()) == 1
    assert ours.name == "AUROC"


def test_squashing_keeps_the_order() -> None:
    values = torch.tensor([-1e6, -20.0, -1.0, 0.0, 1e-3, 16.0, 17.0, 1e6], dtype=torch.float64)
    mapped = squashed(values)
    assert (mapped.diff() > 0).all()
    assert mapped.min() > 0
    assert mapped.max() < 1
    assert mapped[3] == 0.5


def test_wrong_settings_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="did you mean 'features'"):
        EnergyEnsemble(preset="feature")
    with pytest.raises(ConfigError, match="member"):
        EnergyEnsemble(config={"calibration": {"member": 2}})
    with pytest.raises(ConfigError, match=r"set features\.size"):
        EnergyEnsemble.configure_pre_processor((128, 128))


def test_a_model_without_a_fit_says_so() -> None:
    with pytest.raises(PatchebmError, match=r"not fitted; run Engine\.fit, or give a checkpoint"):
        EnergyEnsemble()(torch.zeros(1, 3, 64, 64))


def test_grey_images_and_state_go_round_on_pixels() -> None:
    model = EnergyEnsemble(preset="pixel-cpu").model
    model.config = tiny_config()
    images = [flange.mean(axis=2, keepdims=True).repeat(3, axis=2) for flange in flanges(9)]
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    model.collect(batch, [f"{i}.png" for i in range(9)])
    model.fit()
    assert model.detector.scorer_.inputs.channels == 1
    other = EnergyEnsemble(preset="pixel-cpu").model
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(batch).pred_score, model(batch).pred_score)
    with pytest.raises(ImageError, match="outside"):
        model(batch * 2 - 1)


def test_a_model_of_pixels_is_not_exported(fitted_pixels: EnsembleDetector, tmp_path: Path) -> None:
    ensemble = EnergyEnsemble(preset="pixel-cpu")
    ensemble.model.hold(fitted_pixels)
    with pytest.raises(ConfigError, match="model of pixels cannot be exported"):
        ensemble.to_onnx(tmp_path)
    assert not list(tmp_path.iterdir())


def test_it_says_what_its_detector_says(fitted: EnsembleDetector) -> None:
    model = EnergyEnsemble().model
    model.hold(fitted)
    images = flanges(3, split="test/good")
    found = model(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))
    expected = fitted.predict(images)
    assert found.pred_score.tolist() == pytest.approx([one.score for one in expected], abs=1e-4)
    assert found.pred_label.tolist() == [one.anomalous for one in expected]
    # The state is what `save` writes, so that a checkpoint gives the detector back.
    assert bytes(model.card.numpy()).startswith(b'{\n "format": "patchebm-model"')
    other = EnergyEnsemble(preset="pixel-cpu").model
    other.load_state_dict(model.state_dict())
    assert other.detector.config == fitted.config
    assert other.detector.score(images).tolist() == fitted.score(images).tolist()


def test_images_of_a_part_are_held_out_together(tmp_path: Path) -> None:
    config, images = tiny_features(), flanges(9)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    paths = [str(tmp_path / "train" / "good" / f"{i}.png") for i in range(9)]
    file = tmp_path / "groups.csv"
    lines = [f"train/good/{i}.png,part {i % 3}" for i in range(9)]
    file.write_text("\n".join(["file,group", *lines]) + "\n")
    grouped, alone = EnergyEnsembleModel(config, str(file)), EnergyEnsembleModel(config)
    for model in (grouped, alone):
        model.collect(batch, paths)
        model.fit()
    expected = EnsembleDetector(config).fit(images, [f"part {i % 3}" for i in range(9)])
    assert grouped.detector.score(images).tolist() == expected.score(images).tolist()
    # Two of three folds calibrate.
    assert grouped.detector.threshold_.parts == 2
    assert alone.detector.threshold_.parts == 6
    file.write_text("file,group\n")
    grouped.collect(batch, paths)
    with pytest.raises(DataError, match="names none of the training images"):
        grouped.fit()


def test_a_backbone_in_int8_is_refused() -> None:
    config = tiny_features()
    config.features.precision = "int8"
    with pytest.raises(ConfigError, match="int8 is not for anomalib"):
        EnergyEnsembleModel(config)
