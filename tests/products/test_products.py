"""The synthetic benchmark: deterministic, exact masks, brightness tells nothing, whole folders only."""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import patchebm_products
from patchebm.cli.main import main
from patchebm.errors import DataError, PatchebmError
from patchebm_products import KINDS, PRODUCTS, draw, write_synthetic_set

Pixels = NDArray[np.uint8]
EVERY = [(product, defect) for product in PRODUCTS for defect in KINDS]
SMALL = {"train": 3, "test_good": 2, "per_defect": 1, "size": 64}


@cache
def drawn(
    product: str, defect: str, count: int, size: int = 128, split: str = "test"
) -> list[tuple[Pixels, NDArray[np.bool_]]]:
    return [draw(product, seed=3, split=split, index=k, defect=defect, size=size) for k in range(count)]


def auroc(low: list[float], high: list[float]) -> float:
    a, b = np.array(low)[:, None], np.array(high)[None, :]
    return float(((a < b) + 0.5 * (a == b)).mean())


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_names() -> None:
    assert PRODUCTS == ("fabric", "flange", "board")
    assert [d for d, kind in KINDS.items() if kind == "local"] == ["scratch", "crack", "stain", "hole"]
    assert [d for d, kind in KINDS.items() if kind == "global"] == ["missing", "misplaced", "deformed"]


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("defect", ["good", "stain", "misplaced"])
def test_same_arguments_give_the_same_bytes(product: str, defect: str) -> None:
    first = draw(product, seed=1, split="train", index=2, defect=defect)
    # Images drawn in between must leave no trace.
    draw(product, seed=9, split="train", index=0)
    second = draw(product, seed=1, split="train", index=2, defect=defect)
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1].tobytes() == second[1].tobytes()


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("other", [{"seed": 2}, {"split": "test"}, {"index": 3}])
def test_another_seed_split_or_index_is_another_part(product: str, other: dict[str, int | str]) -> None:
    base: dict[str, int | str] = {"seed": 1, "split": "train", "index": 2}
    a, _ = draw(product, **base)  # type: ignore[arg-type]
    b, _ = draw(product, **{**base, **other})  # type: ignore[arg-type]
    # More than the sensor's noise: the smooth content differs too.
    a8, b8 = (p.reshape(16, 8, 16, 8, 3).mean(axis=(1, 3)) for p in (a, b))
    assert np.abs(a8 - b8).mean() > 2


@pytest.mark.parametrize("size", [96, 128, 200, 512])
@pytest.mark.parametrize("product", PRODUCTS)
def test_sizes_show_the_same_part(product: str, size: int) -> None:
    image, mask = draw(product, seed=0, split="test", index=0, defect="missing", size=size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert mask.shape == (size, size)
    assert mask.dtype == np.bool_
    reference, reference_mask = draw(product, seed=0, split="test", index=0, defect="missing", size=160)
    small, other = (
        np.asarray(Image.fromarray(p).resize((24, 24), Image.Resampling.BOX), dtype=float)
        for p in (image, reference)
    )
    assert np.abs(small - other).mean() < 4
    assert mask.mean() == pytest.approx(reference_mask.mean(), rel=0.15)


@pytest.mark.parametrize(("product", "defect"), EVERY)
def test_mask_is_exactly_where_the_images_differ(product: str, defect: str) -> None:
    for (bad, mask), (good, empty) in zip(drawn(product, defect, 6), drawn(product, "good", 6), strict=True):
        assert not empty.any()
        assert 12 <= mask.sum() < 0.5 * mask.size
        assert np.array_equal(bad[~mask], good[~mask])
        change = np.abs(bad.astype(int) - good.astype(int)).max(axis=2)
        # The support is geometric: where a moved part overlaps its old place the pixels may agree.
        assert (change[mask] > 2).mean() > (0.55 if KINDS[defect] == "local" else 0.3)
        assert change[mask].max() > 25
        if KINDS[defect] == "local":
            assert mask.mean() < 0.05


@pytest.mark.parametrize("product", PRODUCTS)
def test_global_defects_are_larger_than_local_ones(product: str) -> None:
    area = {
        kind: np.mean([m.mean() for d in KINDS if KINDS[d] == kind for _, m in drawn(product, d, 6)])
        for kind in ("local", "global")
    }
    assert area["global"] > 3 * area["local"]


@pytest.mark.parametrize("product", PRODUCTS)
def test_defects_do_not_always_lie_at_the_same_place(product: str) -> None:
    for defect in KINDS:
        centres = np.array([np.argwhere(mask).mean(axis=0) for _, mask in drawn(product, defect, 6)])
        assert centres.std(axis=0).max() > 4, defect


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("control", [np.mean, np.std], ids=["brightness", "contrast"])
def test_brightness_and_contrast_tell_nothing(product: str, control: Callable[[Pixels], float]) -> None:
    good = [float(control(p)) for p, _ in drawn(product, "good", 70, 64)]
    # Splits of their own, as in a written set: the parts are not the good ones' twins.
    bad = [float(control(p)) for defect in KINDS for p, _ in drawn(product, defect, 14, 64, defect)]
    assert abs(auroc(good, bad) - 0.5) < 0.15
    # Light and pose vary: a control that sat still would pass the line above.
    assert np.std(good) > 0.02 * np.mean(good)


@pytest.mark.parametrize("product", PRODUCTS)
def test_written_set(tmp_path: Path, product: str) -> None:
    folder = write_synthetic_set(tmp_path / "sets", product, seed=5, **SMALL)
    assert folder == tmp_path / "sets" / product
    names = set(content(folder))
    expected = {f"train/good/00{k}.png" for k in range(3)} | {f"test/good/00{k}.png" for k in range(2)}
    expected |= {f"test/{d}/000.png" for d in KINDS} | {f"ground_truth/{d}/000_mask.png" for d in KINDS}
    assert names == expected | {"kinds.csv", "README.txt", "synthetic.json"}
    assert [p.name for p in folder.parent.iterdir()] == [product]
    with (folder / "kinds.csv").open(newline="", encoding="utf-8") as file:
        assert {row["defect"]: row["kind"] for row in csv.DictReader(file)} == dict(KINDS)
    readme = (folder / "README.txt").read_text(encoding="utf-8")
    assert "seed 5" in readme
    assert product in readme
    image, mask = draw(product, seed=5, split="test/crack", index=0, defect="crack", size=64)
    assert np.array_equal(np.asarray(Image.open(folder / "test" / "crack" / "000.png")), image)
    with Image.open(folder / "ground_truth" / "crack" / "000_mask.png") as truth:
        assert truth.mode == "L"
        assert np.array_equal(np.asarray(truth), mask.astype(np.uint8) * 255)


def test_images_do_not_depend_on_the_counts(tmp_path: Path) -> None:
    few = content(write_synthetic_set(tmp_path / "few", "flange", **SMALL))
    many = content(
        write_synthetic_set(
            tmp_path / "many", "flange", **{**SMALL, "train": 5, "test_good": 4, "per_defect": 2}
        )
    )
    shared = [name for name in few if name.endswith(".png")]
    assert len(shared) == 19
    assert {name: few[name] for name in shared} == {name: many[name] for name in shared}
    assert len({data for name, data in many.items() if name.endswith(".png") and "mask" not in name}) == 23


def test_same_parameters_leave_the_set_alone(tmp_path: Path) -> None:
    folder = write_synthetic_set(tmp_path, "board", **SMALL)
    marked = folder / "train" / "good" / "000.png"
    os.utime(marked, (1, 1))
    assert write_synthetic_set(tmp_path, "board", **SMALL) == folder
    assert marked.stat().st_mtime == 1


@pytest.mark.parametrize("change", [{"seed": 1}, {"train": 4}, {"size": 72}])
def test_other_parameters_are_refused(tmp_path: Path, change: dict[str, int]) -> None:
    folder = write_synthetic_set(tmp_path, "fabric", **SMALL)
    before = content(folder)
    with pytest.raises(DataError, match=r"other parameters.*delete") as caught:
        write_synthetic_set(tmp_path, "fabric", **{**SMALL, **change})
    assert str(folder) in str(caught.value)
    assert content(folder) == before


def test_a_foreign_or_incomplete_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fabric").mkdir()
    with pytest.raises(DataError, match="fabric exists and is not a synthetic set"):
        write_synthetic_set(tmp_path, "fabric", **SMALL)
    folder = write_synthetic_set(tmp_path, "flange", **SMALL)
    (folder / "test" / "hole" / "000.png").unlink()
    with pytest.raises(DataError, match=r"incomplete synthetic set, test/hole/000\.png"):
        write_synthetic_set(tmp_path, "flange", **SMALL)
    (folder / "synthetic.json").write_text(json.dumps([1]), encoding="utf-8")
    with pytest.raises(DataError, match="other parameters"):
        write_synthetic_set(tmp_path, "flange", **SMALL)


def test_an_interruption_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def interrupted(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        if calls > 4:
            raise KeyboardInterrupt
        return draw(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(patchebm_products.write, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic_set(tmp_path, "fabric", **SMALL)
    assert calls == 5
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("", encoding="utf-8")
    with pytest.raises(PatchebmError, match=r"cannot write .*root"):
        write_synthetic_set(tmp_path / "root", "fabric", **SMALL)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"'fabrik'.*fabric, flange, board"):
        draw("fabrik", seed=0, split="train", index=0)
    with pytest.raises(
        DataError, match=r"'dent'.*good, scratch, crack, stain, hole, missing, misplaced, deformed"
    ):
        draw("fabric", seed=0, split="train", index=0, defect="dent")


def test_impossible_numbers_are_refused(tmp_path: Path) -> None:
    for wrong in ({"seed": -1}, {"index": -1}, {"size": 16}, {"size": 5000}):
        with pytest.raises(DataError, match=f"{next(iter(wrong))}.*choose"):
            draw("fabric", **{"seed": 0, "split": "train", "index": 0, **wrong})  # type: ignore[arg-type]
    for wrong in ({"train": 0}, {"test_good": -1}, {"per_defect": -1}, {"size": 16}, {"seed": -1}):
        with pytest.raises(DataError, match=f"{next(iter(wrong))}.*choose"):
            write_synthetic_set(tmp_path, "fabric", **{**SMALL, **wrong})
    with pytest.raises(DataError, match=r"'cog'.*fabric, flange, board"):
        write_synthetic_set(tmp_path, "cog")
    assert list(tmp_path.iterdir()) == []


def test_a_whole_product_is_fast(tmp_path: Path) -> None:
    start = time.process_time()
    write_synthetic_set(tmp_path, "flange")
    # 4 to 5 s of processor time on a shared core; the room is for slower machines.
    assert time.process_time() - start < 15


def test_without_this_package_the_demo_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "patchebm_products", None)
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 2
    assert "patchebm_products, which is not installed" in (told := capsys.readouterr().err)
    assert "pip install ./products" in told
    assert not (tmp_path / "demo").exists()
