"""What lies around the box that is inspected: its energy, and the verdict of a model that was cropped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchebm.detector import EnsembleDetector, load
from patchebm.detector.surround import LEAD, Surround
from patchebm.export.build import build_bundle
from patchebm.loading import load as load_any
from tests.tiny import flanges, tiny_features

BOX = (16, 48, 16, 48)


def backgrounds(n: int, seed: int = 0) -> torch.Tensor:
    """Thumbnails of a grey table, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + 0.02 * torch.randn(n, 3, 64, 64, generator=generator)


def cropped(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """A flange in the middle of a plain table."""
    side = image.shape[0]
    wide = np.full((2 * side, 2 * side, 3), 0.5, np.float32)
    wide[side // 2 : side // 2 + side, side // 2 : side // 2 + side] = image
    return wide


def with_tool(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same with something dark in its upper left corner, a fifteenth of the side wide."""
    changed = image.copy()
    length = image.shape[0] // 15
    changed[length : 2 * length, length : 2 * length] = 0.1
    return changed


@pytest.fixture(scope="module")
def tables() -> list[NDArray[np.float32]]:
    return [cropped(image) for image in flanges(14)]


@pytest.fixture(scope="module")
def model(tables: list[NDArray[np.float32]]) -> EnsembleDetector:
    made = EnsembleDetector(tiny_features()).fit(tables[:10])
    assert not made.scorer_.inputs.framing.whole  # type: ignore[union-attr]
    return made


def test_held_out_scores_are_standardised_and_lag_behind_the_box() -> None:
    surround = Surround(BOX)
    images = backgrounds(40)
    images[7, :, 4:7, 50:53] = 0.1
    found = surround.learn(images, [str(i) for i in range(40)])
    scores = found.score
    assert float(scores.mean()) == pytest.approx(-LEAD)
    assert float(scores.std()) <= 1 + 1e-6
    torch.testing.assert_close(found.map.flatten(1).amax(1).double(), scores, rtol=1e-5, atol=1e-5)
    assert int(scores.argmax()) == 7
    assert int(found.map[7].argmax()) // 64 in range(4, 7)
    surround.learn(backgrounds(40), [str(i) for i in range(40)])
    new = surround(backgrounds(400, seed=1)).score
    # Of images of the same kind that it was not fitted on.
    assert abs(float(new.mean()) + LEAD) < 0.35
    assert float((new > 1.7).float().mean()) < 0.02


def test_what_is_new_is_found_around_the_box_and_not_in_it() -> None:
    surround = Surround(BOX)
    surround.learn(backgrounds(12), [str(i) for i in range(12)])
    images = backgrounds(3, seed=1)
    images[1, :, 4:7, 50:53] = 0.1
    images[2, :, 30:40, 30:40] = 0.1
    found = surround(images)
    assert float(found.score[1]) > 10
    assert float(found.score[[0, 2]].max()) < 2
    assert int(found.map[1].argmax()) // 64 in range(4, 7)
    assert int(found.map[1].argmax()) % 64 in range(50, 53)


def test_images_of_one_part_are_held_out_together() -> None:
    twins = backgrounds(10).repeat_interleave(2, 0)
    parts = [str(i // 2) for i in range(20)]
    alone, together = Surround(BOX), Surround(BOX)
    alone.learn(twins, [str(i) for i in range(20)])
    together.learn(twins, parts)
    # Who was fitted on an image's twin finds it too normal.
    assert float(together.score_mean) > float(alone.score_mean) + 0.02


def test_images_that_all_show_one_part_are_held_out_one_by_one() -> None:
    images = backgrounds(10)
    alone, one = Surround(BOX), Surround(BOX)
    expected = alone.learn(images, [str(i) for i in range(10)])
    for found, wanted in zip(one.learn(images, ["part"] * 10), expected, strict=True):
        assert torch.equal(found, wanted)
        assert torch.isfinite(found).all()


def test_the_maps_of_training_images_show_what_lies_around_the_box(
    tables: list[NDArray[np.float32]],
) -> None:
    detector = EnsembleDetector(tiny_features()).fit([*tables[:9], with_tool(tables[9])])
    maps = detector.held_out_.maps
    corner = {i: one[: one.shape[0] // 6, : one.shape[1] // 6].max() - one.min() for i, one in maps.items()}
    # Around the box a map is as cool as its coolest place, but for what has no place there.
    assert max(warm for i, warm in corner.items() if i != 9) == 0
    assert corner[9] > 0.1


def test_thumbnails_of_grey_are_those_of_the_same_in_colour() -> None:
    grey = torch.rand(1, 90, 70, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Surround.thumbnails(grey), Surround.thumbnails(grey.expand(-1, -1, -1, 3)))


def test_a_tool_beside_the_part_is_found_and_shown(
    model: EnsembleDetector, tables: list[NDArray[np.float32]]
) -> None:
    good, changed = tables[12], with_tool(tables[12])
    assert "compares what lies around it" in (model.inspected or "")
    found, before = model.predict([changed, good])
    assert found.anomalous
    assert found.score > before.score + 5
    assert found.heat_map is not None
    side = good.shape[0]
    row, column = np.unravel_index(int(np.argmax(found.heat_map)), found.heat_map.shape)
    assert row < side / 6
    assert column < side / 6
    # The levels say nothing of it.
    assert found.levels == pytest.approx(before.levels, abs=0.05)


def test_it_can_be_left_out(tables: list[NDArray[np.float32]]) -> None:
    config = tiny_features()
    config = replace(config, features=replace(config.features, surround=False))
    detector = EnsembleDetector(config).fit(tables[:10])
    assert "around" not in (detector.inspected or "")
    found, before = detector.predict([with_tool(tables[12]), tables[12]])
    assert found.score == pytest.approx(before.score, abs=0.05)


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_exported_and_saved_it_scores_the_same(
    form: str, model: EnsembleDetector, tables: list[NDArray[np.float32]], images: list[Path], tmp_path: Path
) -> None:
    if form == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    new = [tables[13], with_tool(tables[13]), with_tool(tables[12])[..., :1]]
    expected = model.predict(new)
    model.save(tmp_path / "run")
    build_bundle(model, verify=images[:2], form=form).write(tmp_path / "model.patchebm")
    for again in (load(tmp_path / "run"), load_any(tmp_path / "model.patchebm")):
        for found, one in zip(again.predict(new), expected, strict=True):
            assert found.score == pytest.approx(one.score, abs=1e-3)
            assert found.heat_map == pytest.approx(one.heat_map, abs=5e-3)


def test_calibrating_learns_the_new_table(tables: list[NDArray[np.float32]]) -> None:
    detector = EnsembleDetector(tiny_features()).fit(tables[:8])
    # A table that is a little darker each time than any before.
    darker = [image - np.float32(0.004 * i) for i, image in enumerate(tables[6:14])]
    before = [one.score for one in detector.predict(darker)]
    detector.calibrate(darker)
    after = [one.score for one in detector.predict(darker)]
    assert max(after) < max(before)
    assert max(after) < detector.threshold_.value + 1
