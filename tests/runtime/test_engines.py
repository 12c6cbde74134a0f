"""Which provider computes a bundle, and workers in other processes."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import patchebm
from patchebm.errors import ConfigError
from patchebm.line.machine import runtimes
from patchebm.runtime.bundle import read_bundle
from patchebm.runtime.engines import open_engine, require_same_scores
from patchebm.runtime.onnx_engine import OnnxEngine, onnx_providers
from tests.failing import failure


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider"])
def test_the_cpu_by_its_names(bundle_file: Path, images: list[Path], name: str) -> None:
    assert patchebm.load(bundle_file, provider=name).score(images) == pytest.approx(
        patchebm.load(bundle_file).score(images)
    )


def test_a_provider_that_is_not_here_is_one_sentence_that_lists_those_that_are(
    bundle_file: Path, openvino_file: Path
) -> None:
    if "rocm" in onnx_providers():
        pytest.skip("this ONNX Runtime has the provider that the test counts on missing")
    with pytest.raises(ConfigError, match=r"provider rocm is not available here; ONNX Runtime offers cpu"):
        patchebm.load(bundle_file, provider="rocm")
    with pytest.raises(ConfigError, match=r"provider cuda is not available here; OpenVINO offers cpu"):
        patchebm.load(openvino_file, provider="cuda")


def test_openvino_by_the_name_of_its_device(openvino_file: Path, images: list[Path]) -> None:
    expected = patchebm.load(openvino_file).score(images)
    np.testing.assert_array_equal(patchebm.load(openvino_file, provider="CPU").score(images), expected)


def test_a_provider_that_scores_otherwise_is_refused(bundle_file: Path) -> None:
    """A graph without antialiasing stands for a provider that leaves it out."""
    bundle = read_bundle(bundle_file)
    engine = open_engine(bundle, 1)
    require_same_scores(engine, open_engine(bundle, 2), bundle, "a provider")
    model = onnx.load_from_string(bundle.members["graph.onnx"])
    resizes = [node for node in model.graph.node if node.op_type == "Resize"]
    for node in resizes:
        for attribute in node.attribute:
            if attribute.name in ("antialias", "exclude_outside"):
                attribute.i = 0
    other = OnnxEngine(model.SerializeToString(), 1, "without antialiasing")
    with pytest.raises(ConfigError, match=r"provider npu does not score as the CPU does \(score differs by"):
        require_same_scores(other, engine, bundle, "npu")


def test_copies_and_workers_open_the_graph_again(
    bundle_file: Path, openvino_file: Path, images: list[Path], tmp_path: Path
) -> None:
    code = (
        "import pickle, sys\n"
        "predictor = pickle.loads(open(sys.argv[1], 'rb').read())\n"
        "print(*predictor.score(sys.argv[2:]), predictor.threshold_.false_alarm_rate)"
    )
    for file in (bundle_file, openvino_file):
        predictor = patchebm.load(file, threads=1).at_false_alarm_rate(0.25)
        expected = predictor.score(images)
        np.testing.assert_array_equal(copy.deepcopy(predictor).score(images), expected)
        (tmp_path / "predictor.pickle").write_bytes(pickle.dumps(predictor))
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "predictor.pickle"), *map(str, images)],
            capture_output=True,
            text=True,
            check=True,
        )
        *scores, rate = map(float, done.stdout.split())
        assert scores == pytest.approx(expected)
        assert rate == 0.25


def test_each_kind_of_model_has_its_own_option(bundle_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a bundle; say with --provider"):
        patchebm.load(bundle_file, device="cuda")
    with pytest.raises(ConfigError, match=r"is a run folder; say with --device"):
        patchebm.load(tmp_path, provider="cpu")


@pytest.mark.parametrize("verb", ["predict", "watch", "doctor"])
def test_the_verbs_take_a_provider(
    bundle_file: Path, images: list[Path], tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {
        "predict": [str(bundle_file), str(images[0])],
        "watch": [str(images[0].parent), "--model", str(bundle_file), "--out", str(tmp_path / "out")],
        "doctor": [str(bundle_file), str(images[0])],
    }
    told = failure(capsys, verb, *arguments[verb], "--provider", "abacus")
    assert "provider abacus is not available here; ONNX Runtime offers cpu" in told
    assert not (tmp_path / "out").exists()


def test_doctor_lists_what_a_provider_may_be() -> None:
    found = runtimes()
    assert found["onnxruntime"]["providers"][0] == "cpu"
    assert found["onnxruntime"]["providers"] == list(onnx_providers())
    assert "cpu" in found["openvino"]["providers"]
