"""The table and the page of what training found, from the session's detector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patchebm.detector import EnsembleDetector
from patchebm.detector.dropping import Dropped, Dropping
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.images.taking import Copies, TakenImages
from patchebm.report.training_page import TrainingReport
from patchebm.run_folder import RunFolder


@pytest.fixture
def image_set(data: Path) -> ImageSet:
    return open_image_set(data)


def report_of(detector: EnsembleDetector, image_set: ImageSet, dropping: Dropping) -> TrainingReport:
    copies = Copies([image.path.name for image in image_set.train], range(len(image_set.train)))
    return TrainingReport.of(detector, image_set, image_set.train, dropping, copies)


def test_each_image_has_a_row_and_those_without_a_score_come_last(
    fitted: EnsembleDetector, image_set: ImageSet
) -> None:
    """Two of three folds were held out: a third of the images has no score."""
    report = report_of(fitted, image_set, Dropping(list(range(9)), [], False))
    assert {row.name for row in report.rows} == {f"train/good/{path.path.name}" for path in image_set.train}
    scores = [row.score for row in report.rows]
    assert scores[6:] == [None] * 3
    assert scores[:6] == sorted(scores[:6], reverse=True)  # type: ignore[type-var]
    assert report.sentences == []
    table = report.table()
    assert table.header[0] == "file"
    assert {"position_score", "image_score", "fold", "stands_apart", "left_out", "copy_of"} <= set(
        table.header
    )
    assert table.csv().count("\n") == 10


def test_what_was_left_out_is_scored_by_the_final_model(
    fitted: EnsembleDetector, image_set: ImageSet
) -> None:
    # As if the fixture's nine images were the first nine of ten.
    more = ImageSet(image_set.name, image_set.root, (*image_set.train, image_set.test[0]))
    copies = Copies([image.path.name for image in more.train], range(10))
    dropping = Dropping(list(range(9)), [Dropped(9, 1, 7.5)], False)
    report = TrainingReport.of(fitted, more, more.train, dropping, copies)
    (left_out,) = [row for row in report.rows if row.left_out]
    assert left_out.path == image_set.test[0].path
    assert left_out.score == pytest.approx(fitted.score(left_out.path)[0], abs=1e-5)
    assert left_out.fold is None
    (sentence,) = report.sentences
    assert sentence.startswith("left out 1 of 10 training images after 1 fit: test/")
    assert sentence.endswith("the model does not know them")


def test_the_page_shows_the_oddest_first(
    fitted: EnsembleDetector, image_set: ImageSet, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path)
    report = report_of(fitted, image_set, Dropping(list(range(9)), [], False))
    traits = TakenImages(image_set.train, image_set.root)
    for _ in traits:
        pass
    record = {
        "command": ["patchebm", "train"],
        "image_set": "flange",
        "images": 9,
        "copies": 0,
        "dropped": [],
        "profile": traits.profile.to_dict(),
        "data_sha256": "0" * 64,
        "train_seconds": 1.0,
        "versions": {"patchebm": "1"},
    }
    report.write_table(run)
    report.write_page(run, json.loads(json.dumps(record)))
    page = run.page_file.read_text(encoding="utf-8")
    names = [row.name for row in report.rows if row.score is not None]
    places = [page.index(f'<p class="name">{name}</p>') for name in names]
    assert places == sorted(places)
    assert "PNG files" in page
    assert "http://" not in page
    assert run.scores_file.read_text(encoding="utf-8") == report.table().csv()
