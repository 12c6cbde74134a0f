"""What the check says of photographs is true, set by set; what is true was found by other means.

The pairs that are called copies were looked at: two exposures of one magnetic tile each, one screw saved
again brighter, and cubes that lie as they lay ten seconds before.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from patchebm.check.result import SetCheck, check_set
from patchebm.config.presets import load_preset
from patchebm.images.decoding import STANDARD
from patchebm.images.folders import open_image_set

# Training images; what they show at best, in images or parts; copies; kinds of findings that are no notes.
TRUTH: dict[str, tuple[int, int, int, set[str]]] = {
    "bottle": (63, 63, 0, {"rate"}),
    "circuitboard": (20, 20, 0, {"rate"}),
    "cubes": (87, 83, 4, {"rate", "copies", "order"}),
    "tire": (210, 210, 0, {"order"}),
    "solar_poly": (300, 300, 0, set()),
    "screw": (320, 319, 1, {"copies"}),
    "capsules": (542, 542, 0, set()),
    "magnetic_tile": (759, 114, 2, {"copies", "empty masks"}),
}


def checked(root: Path, rate: float = 0.01) -> SetCheck:
    config = load_preset("features", {"false_alarm_rate": rate})
    return check_set(open_image_set(root), config, STANDARD)


def hold_to_the_truth(root: Path) -> None:
    check = checked(root)
    count, parts, copies, weighty = TRUTH[root.name]
    found = {finding.kind: finding for finding in check.findings}
    assert check.trainable
    assert len(check.image_set.train) == count
    assert check.parts == parts
    assert len(check.training.copies.copies) == copies
    assert {kind for kind, one in found.items() if one.weight != "note"} == weighty
    # Nothing is left out, nothing is unreadable, nothing was trained on.
    assert not check.image_set.left_out
    assert not check.training.bad + check.test.bad
    assert not check.test.trained
    listed = sum(1 for folder in ("train", "test") for file in (root / folder).rglob("*") if file.is_file())
    assert sum(folder.images for folder in check.folders) == listed
    masks = Counter(folder.label for folder in check.folders if folder.masked)
    assert set(masks) == {folder.name for folder in (root / "ground_truth").glob("*")}
    if root.name == "magnetic_tile":
        assert len(found["empty masks"].files) == 4
        assert all("uneven" in name for name in found["empty masks"].files)
        assert "757 of 757 images which of 114 parts" in found["groups"].sentence
    else:
        assert "groups" not in found
        assert "sizes" not in found
    assert len(check.odd) == 12


def test_few_images_of_hand_held_photographs(real_data: Path) -> None:
    hold_to_the_truth(real_data / "circuitboard")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(TRUTH) - {"circuitboard"}))
def test_a_set(real_data: Path, name: str) -> None:
    hold_to_the_truth(real_data / name)


@pytest.mark.slow
def test_without_its_list_of_groups_magnetic_tile_gets_no_false_ones(real_data: Path, tmp_path: Path) -> None:
    """Its names begin with the exposure, which is no part; nor do they say which tile they show."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "good").symlink_to(real_data / "magnetic_tile" / "train" / "good")
    found = {finding.kind for finding in checked(tmp_path / "set").findings}
    assert not found & {"groups", "names"}
