"""Models whose backbone computes in int8, in training as on the line."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from patchebm.cli.main import main
from patchebm.config.features import FeaturesConfig
from patchebm.detector import EnsembleDetector, load
from patchebm.errors import ConfigError, ModelFileError, PatchebmError
from patchebm.export.build import build_bundle
from patchebm.features.backbone import load_backbone
from patchebm.features.module_backbone import ModuleBackbone
from patchebm.features.quantise import quantised_backbone
from patchebm.features.quantised_backbone import QuantisedBackbone
from patchebm.images.folders import find_images
from patchebm.loading import load as load_any
from patchebm.runtime.bundle import read_bundle, write_bundle
from patchebm.runtime.probe import probe_image
from tests.failing import failure
from tests.tiny import flanges, tiny_features, write_good

STD = 1e-4


def in_int8() -> FeaturesConfig:
    config = tiny_features()
    return replace(config, features=replace(config.features, precision="int8"))


def backbone_of(detector: EnsembleDetector) -> QuantisedBackbone:
    backbone = detector.scorer_.inputs.backbone  # type: ignore[union-attr]
    assert isinstance(backbone, QuantisedBackbone)
    return backbone


@pytest.fixture(scope="module")
def int8() -> EnsembleDetector:
    return EnsembleDetector(in_int8()).fit(flanges(9))


@pytest.fixture(scope="module")
def run(int8: EnsembleDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("int8") / "run"
    int8.save(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(int8: EnsembleDetector, images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("int8") / "part.patchebm"
    build_bundle(int8, verify=images).write(file)
    return file


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


def test_the_bundle_scores_as_the_run(int8: EnsembleDetector, bundle: Path, images: list[Path]) -> None:
    """Images that are resized, too: a last bit that differs there would move values across steps of int8."""
    resized = [noise((90, 131, 3)), noise((40, 200, 1)), *(image[:50, 3:] for image in flanges(3))]
    given = [*images, *resized]
    found = load_any(bundle, batch=2).predict(given)
    for a, b in zip(found, int8.predict(given), strict=True):
        assert a.score == pytest.approx(b.score, abs=STD, rel=1e-5)
        assert list(a.levels.values()) == pytest.approx(list(b.levels.values()), abs=STD, rel=1e-5)
        assert a.heat_map is not None
        assert b.heat_map is not None
        np.testing.assert_allclose(a.heat_map, b.heat_map, atol=10 * STD, rtol=1e-5)
        assert a.anomalous == b.anomalous


def test_energies_were_fitted_on_what_int8_gives(
    int8: EnsembleDetector, fitted: EnsembleDetector, images: list[Path]
) -> None:
    """Features in float32 score otherwise with them, so that they must have come from int8."""
    good = flanges(20, split="another day")
    assert abs(int8.score(good).mean()) < abs(fitted.score(good).mean()) + 1
    swapped = EnsembleDetector(in_int8())
    swapped.calibration_, swapped.decoding_ = int8.calibration_, int8.decoding_
    swapped.scorer_ = copy.deepcopy(int8.scorer_)
    swapped.scorer_.inputs.backbone = load_backbone("efficientnet-lite0", [2, 4, 10])  # type: ignore[union-attr]
    assert np.abs(swapped.score(images) - int8.score(images)).max() > 100 * STD


def test_it_survives_saving_and_loading(int8: EnsembleDetector, run: Path, images: list[Path]) -> None:
    restored = load(run)
    assert restored.score(images).tolist() == int8.score(images).tolist()
    (file,) = run.glob("*.safetensors")
    held = load_file(file)["backbone.graph"]
    assert held.dtype == torch.uint8
    assert held.numpy().tobytes() == backbone_of(int8).graph
    again = EnsembleDetector(in_int8()).fit(flanges(9))
    assert backbone_of(again).graph == backbone_of(int8).graph
    assert again.score(images).tolist() == int8.score(images).tolist()


def test_it_is_copied_and_pickled(int8: EnsembleDetector) -> None:
    backbone = backbone_of(int8)
    x = torch.from_numpy(noise((1, 3, 64, 96))) * 2 - 1
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        for a, b in zip(other(x), backbone(x), strict=True):
            assert torch.equal(a, b)


def test_the_bundle_holds_the_very_graph_of_the_run(int8: EnsembleDetector, bundle: Path) -> None:
    """int8 is in the wide convolutions alone, with the bytes of the run."""
    model = onnx.load_model_from_string(read_bundle(bundle).members["graph.onnx"])
    own = onnx.load_model_from_string(backbone_of(int8).graph)
    tensors = {one.name: one for one in model.graph.initializer}
    for tensor in own.graph.initializer:
        assert tensors[tensor.name].SerializeToString() == tensor.SerializeToString()
    # One after the other, among nodes of other names.
    theirs = [node.op_type for node in model.graph.node]
    start = theirs.index("QuantizeLinear")
    assert theirs.count("QuantizeLinear") == [node.op_type for node in own.graph.node].count("QuantizeLinear")
    assert start > 0
    made_by = {output: node for node in model.graph.node for output in node.output}
    kinds: dict[str, set[tuple[int, ...]]] = {"int8": set(), "f32": set()}
    for node in model.graph.node:
        if node.op_type == "Conv":
            maker = made_by.get(node.input[1])
            name, kind = (node.input[1], "f32") if maker is None else (maker.input[0], "int8")
            kinds[kind].add(tuple(tensors[name].dims))
    assert kinds["int8"]
    assert all(max(shape) >= 200 for shape in kinds["int8"])
    assert {(240, 40, 1, 1), (480, 1, 5, 5)} <= kinds["int8"]
    # What scores the features, 176 channels in, and the first layers are as they were.
    assert {(176, 176, 1, 1), (32, 3, 3, 3), (96, 1, 3, 3)} <= kinds["f32"]


def test_weights_cannot_overflow_sums_of_16_bits(int8: EnsembleDetector) -> None:
    """Two products of 8 and of 7 bits are summed in 16 by processors without VNNI."""
    graph = onnx.load_model_from_string(backbone_of(int8).graph).graph
    weights = [
        onnx.numpy_helper.to_array(one) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8
    ]
    large = [one for one in weights if one.ndim == 4]
    assert large
    assert max(np.abs(one.astype(int)).max() for one in large) <= 64


def test_openvino_is_refused_since_it_rounds_otherwise(int8: EnsembleDetector, images: list[Path]) -> None:
    with pytest.raises(ConfigError, match="openvino rounds otherwise; export it with --format onnx"):
        build_bundle(int8, verify=images, form="openvino")


def test_the_card_says_what_it_needs_and_doctor_repeats_it(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = read_bundle(bundle).card
    assert card["graph"]["precision"] == "int8"
    assert card["config"]["features"]["precision"] == "int8"
    assert main(["doctor", str(bundle), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["computes"].startswith("computed in int8")
    assert set(card["graph"]["made_on"]) == set(told["hardware"]["flags"])


def test_a_bundle_that_computes_something_else_here_is_refused(bundle: Path, tmp_path: Path) -> None:
    """As on a processor whose 8-bit products overflow: what the bundle kept of a pattern tells."""
    whole = read_bundle(bundle)
    card = copy.deepcopy(whole.card)
    card["graph"]["probe"][0] += 5
    card["graph"]["made_on"] = ["avx2"]
    write_bundle(tmp_path / "other.patchebm", card, whole.members)
    with pytest.raises(ConfigError, match=r"other values on this processor .* \(avx2\).*--precision f32"):
        load_any(tmp_path / "other.patchebm")
    del card["graph"]["made_on"]
    write_bundle(tmp_path / "other.patchebm", card, whole.members)
    with pytest.raises(ModelFileError, match="lacks what int8 needs"):
        load_any(tmp_path / "other.patchebm")


def test_a_run_that_computes_something_else_here_is_refused(int8: EnsembleDetector) -> None:
    backbone = backbone_of(int8)
    facts = backbone.facts()
    assert QuantisedBackbone.from_facts(backbone.graph, backbone.blocks, facts).facts() == facts
    facts["probe"] = [1.05 * value for value in facts["probe"]]
    with pytest.raises(ConfigError, match="int8 backbone efficientnet-lite0 computes other values"):
        QuantisedBackbone.from_facts(backbone.graph, backbone.blocks, facts)


def test_the_pattern_has_grain_everywhere() -> None:
    image = probe_image((64, 256))[0]
    assert image.min() >= 0
    assert image.max() <= 1
    # Neither rows nor columns are alike.
    assert np.abs(image[1:] - image[:-1]).mean((1, 2)).min() > 0.05
    assert np.abs(image[:, 1:] - image[:, :-1]).mean((0, 2)).min() > 0.05


def test_a_model_file_without_its_backbone_is_refused(run: Path, tmp_path: Path) -> None:
    from patchebm.detector.modelfile import load_model, save_model

    facts, tensors = load_model(run)
    del tensors["backbone.graph"]
    save_model(tmp_path / "less", facts, tensors)
    with pytest.raises(ModelFileError, match="lacks what its backbone in int8 needs"):
        load(tmp_path / "less")
    tensors["backbone.graph"] = torch.zeros(100, dtype=torch.uint8)
    save_model(tmp_path / "other", facts, tensors)
    with pytest.raises(ModelFileError, match="graph cannot be run"):
        load(tmp_path / "other")


@pytest.fixture
def without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)


@pytest.mark.usefixtures("without_onnxruntime")
def test_scoring_without_onnx_runtime_says_what_to_install(run: Path) -> None:
    with pytest.raises(ConfigError, match="install --force-reinstall onnxruntime"):
        load(run)


def test_training_without_onnx_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "patchebm.features.quantise", None)
    with pytest.raises(ConfigError, match=r"int8 needs .*pip install 'patchebm\[export\]'"):
        EnsembleDetector(in_int8()).check()


def test_scoring_needs_neither_onnx_nor_the_weights(run: Path, images: list[Path]) -> None:
    code = (
        "import sys\n"
        "for name in ('onnx', 'efficientnet_lite_pytorch'): sys.modules[name] = None\n"
        "from patchebm.cli.main import main\n"
        "sys.exit(main(['predict', *sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", code, str(run), str(images[0])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_devices_that_do_not_compute_it_are_refused() -> None:
    config = in_int8()
    EnsembleDetector(config).check()
    with pytest.raises(
        ConfigError, match=r"device cuda:1 does not compute features.precision int8.*--device cpu"
    ):
        EnsembleDetector(config, device=torch.device("cuda:1")).check()


def test_a_network_without_wide_convolutions_is_refused() -> None:
    narrow = ModuleBackbone(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1)), ["0"], "narrow")
    with pytest.raises(ConfigError, match="narrow has no wide convolutions for int8; use --precision f32"):
        quantised_backbone(narrow, [torch.zeros(1, 3, 64, 64)])


def test_another_precision_is_not_exported(int8: EnsembleDetector, images: list[Path]) -> None:
    with pytest.raises(PatchebmError, match=r"trained at int8 .* or train with --precision f32"):
        build_bundle(int8, verify=images, precision="f32")


def test_the_verbs(data: Path, tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, part = tmp_path / "run", tmp_path / "part.patchebm"
    train = ["train", str(data), "--out", str(run), "--precision", "int8"]
    assert "a run of kind pixels has none" in failure(capsys, *train, "--preset", "pixel-cpu")
    assert "features.precision is 'int4'; it must be f32 or int8" in failure(capsys, *train[:-1], "int4")
    assert main([*train, "--config", str(tiny_yaml)]) == 0
    assert "computes in int8, here and in exported models" in capsys.readouterr().out
    assert yaml.safe_load((run / "config.yaml").read_text())["features"]["precision"] == "int8"
    assert main(["export", str(run), "--out", str(part)]) == 0
    assert "0 verdicts differ" in capsys.readouterr().out
    found = {}
    for model in (run, part):
        out = tmp_path / f"{model.name}.json"
        assert main(["predict", str(model), str(data / "test"), "--json", str(out)]) == 0
        found[model.name] = [record["score"] for record in json.loads(out.read_text())]
    assert found["part.patchebm"] == pytest.approx(found["run"], abs=STD)
    again = tmp_path / "again"
    assert main(["calibrate", str(run), str(write_good(tmp_path / "new", 8)), "--out", str(again)]) == 0
    assert len(load(again).score(find_images([str(data / "test" / "good")]))) == 3
