"""The ensemble as a model of the real anomalib; `make test-anomalib` runs these in its environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip(
    "anomalib", reason="anomalib is not installed (make test-anomalib installs it)", exc_type=ImportError
)

from anomalib.data import Folder, PredictDataset
from anomalib.deploy import ExportType, TorchInferencer
from anomalib.engine import Engine
from anomalib.utils.serialization import anomalib_safe_globals

from patchebm.anomalib import EnergyEnsemble
from patchebm.anomalib.metrics import squashed
from patchebm.config.presets import load_preset
from patchebm.detector import EnsembleDetector
from patchebm.evaluation.metrics import image_metrics
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.images.reading import read_image
from tests.tiny import write_set

# A fit of seconds.
SMALL: dict[str, Any] = {
    "calibration": {"folds": 3, "members": 2},
    "patch": {"network": {"training": {"steps": 5}}, "base": {"components": 8}},
    "image": {"network": {"training": {"steps": 5}}, "base": {"rank": 4}},
}


@pytest.fixture(scope="module")
def image_set(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return open_image_set(write_set(tmp_path_factory.mktemp("data")))


def folder(image_set: ImageSet, batch: int = 2) -> Folder:
    return Folder(
        "flange",
        root=image_set.root,
        normal_dir="train/good",
        normal_test_dir="test/good",
        abnormal_dir=[f"test/{defect}" for defect in image_set.defects],
        mask_dir=[f"ground_truth/{defect}" for defect in image_set.defects],
        # So that all test images stay test images; the model chooses nothing on validation images.
        val_split_mode="same_as_test",
        train_batch_size=4,
        eval_batch_size=batch,
        num_workers=0,
    )


@pytest.fixture(scope="module")
def trained(
    image_set: ImageSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EnergyEnsemble, Engine, dict[str, float]]:
    """A model that anomalib trained and tested, and what its evaluator says."""
    model = EnergyEnsemble(seed=3, config=SMALL)
    engine = Engine(default_root_dir=tmp_path_factory.mktemp("results"), accelerator="cpu")
    (figures,) = engine.train(model, datamodule=folder(image_set))
    return model, engine, dict(figures)


@pytest.fixture(scope="module")
def detector(image_set: ImageSet) -> EnsembleDetector:
    """patchebm's own, fitted on the same files."""
    config = load_preset("features", SMALL, {"seed": 3})
    return EnsembleDetector(config).fit([p.path for p in image_set.train])


def through_anomalib(model: EnergyEnsemble, engine: Engine, image_set: ImageSet, **how: Any) -> list[Any]:
    """One item for each test image, in the order of the set's."""
    batches = engine.predict(model, datamodule=folder(image_set), **how)
    items = {Path(item.image_path).resolve(): item for batch in batches for item in batch}
    return [items[image.path.resolve()] for image in image_set.test]


def test_scores_verdicts_and_maps_are_those_of_the_detector(
    trained: tuple[EnergyEnsemble, Engine, dict[str, float]],
    detector: EnsembleDetector,
    image_set: ImageSet,
) -> None:
    model, engine, _ = trained
    items = through_anomalib(model, engine, image_set)
    expected = detector.predict([image.path for image in image_set.test])
    # anomalib multiplies bytes by 1/255, and scores two images at once: the last digits of float32 differ.
    assert [float(i.pred_score) for i in items] == pytest.approx([p.score for p in expected], abs=1e-4)
    assert [bool(i.pred_label) for i in items] == [p.anomalous for p in expected]
    for item, prediction in zip(items, expected, strict=True):
        assert prediction.heat_map is not None
        calibration = detector.calibration_
        width = calibration.heat_high - calibration.heat_low
        heat = torch.from_numpy((prediction.heat_map - calibration.pixels.value) / width)
        torch.testing.assert_close(torch.as_tensor(item.anomaly_map).squeeze(), squashed(heat))
        mask = torch.as_tensor(item.pred_mask).squeeze()
        assert torch.equal(mask, torch.from_numpy(prediction.mask))


def test_the_evaluator_agrees_and_the_visualiser_draws(
    trained: tuple[EnergyEnsemble, Engine, dict[str, float]],
    detector: EnsembleDetector,
    image_set: ImageSet,
) -> None:
    _, engine, figures = trained
    labels = [bool(image.anomalous) for image in image_set.test]
    scores = detector.score([image.path for image in image_set.test])
    assert figures["image_AUROC"] == pytest.approx(image_metrics(labels, scores)["image_auroc"], abs=1e-6)
    assert {"image_F1Score", "pixel_AUROC", "pixel_F1Score"} <= set(figures)
    drawn = list(Path(engine.trainer.default_root_dir).rglob("images/**/*.png"))
    assert len({file.name for file in drawn}) >= len({image.path.name for image in image_set.test})


def test_a_checkpoint_holds_plain_tensors_and_gives_the_same_scores(
    trained: tuple[EnergyEnsemble, Engine, dict[str, float]], image_set: ImageSet, tmp_path: Path
) -> None:
    model, engine, _ = trained
    with anomalib_safe_globals():
        state = torch.load(engine.best_model_path, weights_only=True)["state_dict"]
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    assert bytes(state["model.card"].numpy()).startswith(b'{\n "format": "patchebm-model"')
    fresh = EnergyEnsemble(seed=8, config=SMALL)
    other = Engine(default_root_dir=tmp_path, accelerator="cpu")
    again = through_anomalib(fresh, other, image_set, ckpt_path=engine.best_model_path)
    before = through_anomalib(model, engine, image_set)
    assert [float(i.pred_score) for i in again] == [float(i.pred_score) for i in before]
    # Its settings come with it.
    assert EnergyEnsemble.load_from_checkpoint(engine.best_model_path).model.config.seed == 3


def test_the_export_to_torch_gives_the_same_scores(
    trained: tuple[EnergyEnsemble, Engine, dict[str, float]],
    image_set: ImageSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, engine, _ = trained
    file = engine.export(model, ExportType.TORCH, export_root=tmp_path)
    # What anomalib asks for before it unpickles a file.
    monkeypatch.setenv("TRUST_REMOTE_CODE", "1")
    inferencer = TorchInferencer(file, device="cpu")
    items = through_anomalib(model, engine, image_set)
    for image, item in zip(image_set.test[:3], items, strict=False):
        assert float(inferencer.predict(image.path).pred_score) == pytest.approx(
            float(item.pred_score), rel=1e-6
        )


@pytest.mark.parametrize("input_size", [(64, 64), None])
def test_the_export_to_onnx_gives_the_same_scores(
    trained: tuple[EnergyEnsemble, Engine, dict[str, float]],
    image_set: ImageSet,
    tmp_path: Path,
    input_size: tuple[int, int] | None,
) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    model, engine, _ = trained
    file = engine.export(model, ExportType.ONNX, export_root=tmp_path, input_size=input_size)
    session = runtime.InferenceSession(str(file))
    names = [output.name for output in session.get_outputs()]
    items = through_anomalib(model, engine, image_set)
    for image, item in zip(image_set.test, items, strict=True):
        pixels = read_image(image.path).transpose(2, 0, 1)[None]
        said = dict(zip(names, session.run(None, {"input": pixels}), strict=True))
        assert float(said["pred_score"][0]) == pytest.approx(float(item.pred_score), abs=1e-3)
        assert bool(said["pred_label"][0]) == bool(item.pred_label)
        np.testing.assert_allclose(said["anomaly_map"].squeeze(), item.anomaly_map.squeeze(), atol=1e-3)


def test_images_that_nobody_labelled_are_predicted(
    trained: tuple[EnergyEnsemble, Engine, dict[str, float]], image_set: ImageSet
) -> None:
    model, engine, _ = trained
    images = image_set.root / "test" / image_set.defects[0]
    batches = engine.predict(model, dataset=PredictDataset(images))
    assert sum(len(batch.pred_score) for batch in batches) == len(list(images.iterdir()))


def test_the_command_line_trains_it(image_set: ImageSet, tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "anomalib"
    config = (
        "{calibration: {folds: 3, members: 1}, levels: [image], image: {network: {training: {steps: 5}}}}"
    )
    options = {
        "model": "patchebm.anomalib.EnergyEnsemble",
        "model.config": config,
        "data": "anomalib.data.Folder",
        "data.name": "flange",
        "data.root": image_set.root,
        "data.normal_dir": "train/good",
        "data.normal_test_dir": "test/good",
        "data.abnormal_dir": f"test/{image_set.defects[0]}",
        "data.num_workers": 0,
        "trainer.accelerator": "cpu",
        "default_root_dir": tmp_path,
    }
    arguments = [f"--{key}={value}" for key, value in options.items()]
    done = subprocess.run([command, "train", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "image_AUROC" in done.stdout
    assert list(tmp_path.rglob("*.ckpt"))
