"""Results as files, what of them goes with a model, and test images that training had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from patchebm.errors import DataError
from patchebm.evaluation.copies import find_copies
from patchebm.evaluation.evaluate import evaluate
from patchebm.evaluation.metrics import METRICS
from patchebm.evaluation.results import card_figures, read_results, write_results
from patchebm.images.fingerprints import take_fingerprints
from patchebm.images.folders import open_image_set
from patchebm.provenance import file_hash
from patchebm.run_folder import RunFolder
from tests.simple_predictor import VALUES, SimplePredictor


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run folder with a card and nothing else."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.card_file.write_text("{}")
    return folder


@pytest.fixture
def results(data: Path, run: RunFolder) -> dict[str, Any]:
    predictor = SimplePredictor(sorted((data / "train" / "good").iterdir()))
    secret = "/home/somebody/secret"
    found = evaluate(predictor, open_image_set(data))
    return found | {
        "warnings": [f"{secret} is missing"],
        "duplicates": [{"test": secret, "train": secret}],
        "made_by": {"command": ["patchebm", secret], "model_sha256": file_hash(run.card_file)},
    }


def test_what_was_written_is_read_again(results: dict[str, Any], run: RunFolder) -> None:
    write_results(run.results_file("part"), results)
    assert read_results(run.path) == {results["image_set"]: json.loads(json.dumps(results))}


def test_results_that_do_not_fit_are_named(results: dict[str, Any], run: RunFolder) -> None:
    with pytest.raises(DataError, match="is not a run folder"):
        read_results(run.path / "nowhere")
    with pytest.raises(DataError, match=f"run patchebm evaluate {run.path} DATA first"):
        read_results(run.path)
    file = run.results_file("part")
    for content in ("{", "[]", "{}", json.dumps({"made_by": {}})):
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
        with pytest.raises(DataError, match=r"part\.json cannot be read"):
            read_results(run.path)
    write_results(file, results)
    run.card_file.write_text("{ }")
    with pytest.raises(DataError, match="has changed since"):
        read_results(run.path)


def test_figures_of_a_card_name_no_path_command_or_image(results: dict[str, Any]) -> None:
    figures = card_figures(results)
    for metric in METRICS:
        assert figures[metric.name] == results[metric.name]
    assert figures["image_auroc_interval"] == results["image_auroc_interval"]
    assert figures["image_set"] == results["image_set"]
    assert (figures["good_count"], figures["miss_count"]) == (results["good_count"], results["miss_count"])
    assert set(figures["levels"]) == set(results["levels"])
    assert figures["per_defect"]["crack"] == results["per_defect"]["crack"]
    text = json.dumps(figures)
    assert "secret" not in text
    assert ".png" not in text
    assert not {"predictions", "made_by", "warnings", "duplicates", "seconds"} & set(figures)
    # What a stranger adds to the file does not get in either.
    odd = results | {"per_defect": "secret", "levels": {"patch": {"note": "secret", "image_auroc": 0.5}}}
    assert "secret" not in json.dumps(card_figures(odd))


def test_copies_of_training_images_are_named(data: Path, run: RunFolder, tmp_path: Path) -> None:
    own = Path(shutil.copytree(data, tmp_path / "own"))
    first, second, third = sorted((own / "train" / "good").iterdir())[:3]
    shutil.copy(first, own / "test" / "good" / "copied.png")
    with Image.open(second) as image:
        image.convert("L").save(own / "test" / "good" / "again.png")
    image_set = open_image_set(own)
    test = take_fingerprints([p.path for p in image_set.test], own)
    found, sentences = find_copies(run, image_set, test)
    assert [(d.test, d.train, d.exact) for d in found] == [
        ("test/good/again.png", f"train/good/{second.name}", False),
        ("test/good/copied.png", f"train/good/{first.name}", True),
    ]
    assert f"{run.path} does not know its training images" in sentences[0]
    assert "also a training image, and figures flatter: test/good/copied.png = train/good/" in sentences[1]
    assert "nearly a training image, and figures flatter: test/good/again.png = train/good/" in sentences[2]

    # The training images of the data at hand need not be those of the run.
    take_fingerprints([third], own).save(run.fingerprints_file)
    assert find_copies(run, image_set, test) == ([], [])
    run.fingerprints_file.write_bytes(run.fingerprints_file.read_bytes()[:100])
    with pytest.raises(DataError, match=run.fingerprints_file.name):
        find_copies(run, image_set, test)


def test_levels_are_those_of_the_detector(results: dict[str, Any]) -> None:
    assert list(results["predictions"][0]["levels"]) == list(VALUES)
