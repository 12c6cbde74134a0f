"""The torch-free runtime: the same answers as training, from any kind of image, thread and batch."""

from __future__ import annotations

import copy
import io
import multiprocessing
import operator
import pickle
import subprocess
import sys
import weakref
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import patchebm
from patchebm.detector import EnsembleDetector
from patchebm.errors import ConfigError, ImageError, PatchebmError
from patchebm.images.photo import Photo
from patchebm.images.reading import read_image
from patchebm.runtime.bundle_predictor import BundlePredictor
from patchebm.runtime.prediction import Prediction
from patchebm.runtime.regions import Region

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def predictor(bundle_file: Path) -> BundlePredictor:
    opened = patchebm.load(bundle_file, threads=1, warm_up=True)
    assert isinstance(opened, BundlePredictor)
    return opened


def assert_same(found: Prediction, expected: Prediction) -> None:
    assert found.score == pytest.approx(expected.score, abs=2e-3)
    assert found.levels == pytest.approx(expected.levels, abs=2e-3)
    assert (found.anomalous, found.threshold) == (expected.anomalous, expected.threshold)
    assert found.extrapolated == expected.extrapolated
    assert found.tail_probability == pytest.approx(expected.tail_probability, rel=1e-2)
    assert found.heat_map is not None
    assert expected.heat_map is not None
    assert found.heat_map.dtype == np.float32
    np.testing.assert_allclose(found.heat_map, expected.heat_map, atol=5e-3)
    assert set(found.level_maps) == set(expected.level_maps)


def test_it_answers_as_the_detector(
    predictor: BundlePredictor, fitted: EnsembleDetector, images: list[Path]
) -> None:
    for found, expected in zip(predictor.predict(images), fitted.predict(images), strict=True):
        assert found.image == expected.image
        assert_same(found, expected)
    assert predictor.heat_range(np.zeros((2, 2), np.float32)) == fitted.heat_range(
        np.zeros((2, 2), np.float32)
    )
    other, same = predictor.at_false_alarm_rate(0.3), fitted.at_false_alarm_rate(0.3)
    assert other.threshold_ == same.threshold_
    assert predictor.threshold_ == fitted.threshold_
    assert predictor.predict(images[0], heat_maps=False)[0].heat_map is None


def test_a_image_is_the_same_whatever_it_is_handed_in_as(
    predictor: BundlePredictor, images: list[Path]
) -> None:
    path = images[0]
    pixels = read_image(path)
    bytes_ = np.rint(pixels * 255).astype(np.uint8)
    deep = bytes_.astype(np.uint16) * 257
    kinds = [
        *(str(path), path, Photo(path), path.read_bytes(), Image.open(path)),
        *(pixels, pixels.astype(np.float64), bytes_, deep),
    ]
    scores = [predictor.predict(kind)[0].score for kind in kinds]
    np.testing.assert_array_equal(predictor.score(kinds), scores)
    assert [p.image for p in predictor.predict(kinds)][:4] == [str(path)] * 3 + ["image 3"]
    assert scores == pytest.approx([scores[0]] * len(kinds), abs=1e-4)
    grey = bytes_[:, :, 0]
    assert predictor.predict(grey)[0].score == pytest.approx(
        predictor.predict(np.repeat(grey[:, :, None], 3, axis=2))[0].score, abs=1e-4
    )


def test_a_photo_keeps_its_pixels_until_the_next_prediction_is_asked_for(
    predictor: BundlePredictor, images: list[Path]
) -> None:
    photos = [Photo(path) for path in images[:3]]
    arrays: list[weakref.ref[object]] = []
    for photo, _ in zip(photos, predictor.iterate(photos), strict=True):
        arrays.append(weakref.ref(photo.pixels))
        assert [array() is not None for array in arrays] == [False] * (len(arrays) - 1) + [True]


def test_16_bits_keep_their_precision(predictor: BundlePredictor) -> None:
    """Two images that are equal at 8 bits."""
    low = np.random.default_rng(0).integers(0, 2**16, (64, 64), dtype=np.uint16) // 256 * 256
    assert predictor.predict(low)[0].score != predictor.predict(low + 100)[0].score


def test_batches_and_threads_change_nothing(bundle_file: Path, predictor: BundlePredictor) -> None:
    draw = np.random.default_rng(1)
    images = [
        draw.random((*size, 3), dtype=np.float32) for size in [(64, 64)] * 5 + [(70, 50)] * 3 + [(64, 64)] * 2
    ]
    expected = [p.score for p in predictor.predict(images)]
    together = patchebm.load(bundle_file, threads=2, batch=4)
    assert [p.score for p in together.predict(images)] == pytest.approx(expected, rel=1e-5)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: predictor.predict(image)[0], images * 10))
    assert [p.score for p in found] == pytest.approx(expected * 10, rel=1e-6)


def test_openvino_from_several_threads(
    openvino_file: Path, images: list[Path], predictor: BundlePredictor
) -> None:
    other = patchebm.load(openvino_file, threads=1)
    expected = predictor.predict(images)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: other.predict(image)[0], images * 10))
    for one, same in zip(found, expected * 10, strict=True):
        assert_same(one, same)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.full((64, 64, 3), np.nan, np.float32), "outside .0, 1."),
        (np.full((64, 64, 3), 2.0, np.float32), "outside .0, 1."),
        (np.zeros((64, 64, 3), np.int32), "dtype int32; give uint8"),
        (np.zeros((64, 64), bool), "dtype bool; give uint8"),
        (np.zeros((64, 64, 4), np.uint8), r"has shape \(64, 64, 4\)"),
        (np.zeros((0, 64, 3), np.uint8), r"has shape \(0, 64, 3\)"),
        (np.zeros((1, 1, 3), np.uint8), "1 x 1 pixels, too few to score"),
        (b"", "is empty"),
        (b"no image", "is not a PNG, JPEG, BMP, TIFF, WebP or .npy"),
        ("missing.png", "does not exist"),
        (object(), "give a path, bytes, an array or a Pillow image"),
        (Image.new("F", (64, 64), 3.0), "floating-point numbers, from 3 to 3, .* --range"),
    ],
)
def test_bad_images_are_named(predictor: BundlePredictor, image: object, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        predictor.predict([image])  # type: ignore[list-item]


def test_a_image_that_claims_to_be_huge(predictor: BundlePredictor, images: list[Path]) -> None:
    content = bytearray(images[0].read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    with pytest.raises(ImageError, match="claims to have more than 175 million"):
        predictor.predict(bytes(content))
    with pytest.raises(ImageError, match="more than 175 million pixels"):
        predictor.predict(np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (60_000, 60_000, 3)))


def test_arguments_out_of_range(bundle_file: Path) -> None:
    for bad in ({"threads": 0}, {"batch": 0}):
        with pytest.raises(ConfigError, match="below 1"):
            patchebm.load(bundle_file, **bad)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="holds its own backbone"):
        patchebm.load(bundle_file, backbone=object())  # type: ignore[arg-type]


def fuzz_images(images: list[Path], times: int) -> None:
    """2,000 damaged images, so many times: only errors that a user can fix come out."""
    from patchebm.runtime.inputs import pixels_of

    png = images[0].read_bytes()
    kinds = [png]
    for form in ("JPEG", "BMP", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        Image.open(images[0]).save(buffer, format=form)
        kinds.append(buffer.getvalue())
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(Image.open(images[0])).astype(np.uint16) * 16)
    kinds.append(buffer.getvalue())
    edits = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1, max_size=6)

    @settings(
        max_examples=2000 * times,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(kinds), edits, st.integers(0, 3), st.integers(0, 20_000))
    def one(content: bytes, changes: list[tuple[int, int]], whole: int, cut: int) -> None:
        changed = bytearray(content)
        for place, value in changes:
            # Half of them in the header, where they do most.
            changed[place % (200 if value % 2 else len(changed))] = value
        if not whole:
            changed = changed[: cut % len(changed)]
        try:
            found = pixels_of(bytes(changed), 0)
        except PatchebmError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
        else:
            assert found.dtype == np.float32
            assert found.ndim == 3

    one()


def test_2000_damaged_images(images: list[Path]) -> None:
    fuzz_images(images, 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_20000_damaged_images(images: list[Path]) -> None:
    fuzz_images(images, 10)


def test_scoring_imports_no_torch(bundle_file: Path, images: list[Path]) -> None:
    code = (
        "import sys, patchebm;"
        "print(patchebm.load(sys.argv[1]).predict(sys.argv[2])[0].score);"
        "heavy = {'torch', 'scipy', 'sklearn', 'matplotlib', 'onnx', 'openvino'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(bundle_file), str(images[0])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert np.isfinite(float(ran.stdout))


def test_the_example_reads_a_bundle_alone(
    bundle_file: Path, images: list[Path], predictor: BundlePredictor
) -> None:
    example = ROOT / "examples" / "score_bundle.py"
    ran = subprocess.run(
        [sys.executable, str(example), str(bundle_file), str(images[0])],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = predictor.predict(images[0])[0]
    verdict, score = ran.stdout.split()[:2]
    assert verdict == ("ANOMALOUS" if expected.anomalous else "normal")
    assert float(score.rstrip(",")) == pytest.approx(expected.score, abs=2e-3)


@pytest.fixture(scope="module")
def defects(images: list[Path]) -> list[np.ndarray]:
    """Parts with glaring spots, at places of their own."""
    rng = np.random.default_rng(0)
    spotted = []
    for path in images:
        image = read_image(path).copy()
        for size in (4, 14):
            y, x = rng.integers(0, 48, 2)
            image[y : y + size, x : x + size] = rng.random(3)
        spotted.append(image)
    return spotted


def test_it_lists_the_regions_of_the_detector(
    predictor: BundlePredictor, fitted: EnsembleDetector, defects: list[np.ndarray]
) -> None:
    ours, theirs = predictor.at_false_pixel_rate(0.01), fitted.at_false_pixel_rate(0.01)
    threshold = theirs.calibration_.pixels.value
    assert ours.calibration_.pixels == theirs.calibration_.pixels
    equal = listed = 0
    for found, expected in zip(ours.predict(defects), theirs.predict(defects), strict=True):
        assert found.mask is not None
        assert expected.mask is not None
        assert expected.heat_map is not None
        # Only what lies on the threshold itself, to the rounding of the runtimes, may be marked by one alone.
        surely = np.abs(expected.heat_map - threshold) > 5e-3
        np.testing.assert_array_equal(found.mask[surely], expected.mask[surely])
        assert np.array_equal(expected.mask, expected.heat_map > threshold)
        if np.array_equal(found.mask, expected.mask):
            equal += 1
            assert found.regions is not None
            assert expected.regions is not None
            listed += len(found.regions)
            key = operator.attrgetter("box")
            for one, other in zip(
                sorted(found.regions, key=key), sorted(expected.regions, key=key), strict=True
            ):
                assert (one.area, one.box, one.centre) == (other.area, other.box, other.centre)
                assert one.peak == pytest.approx(other.peak, abs=5e-3)
            assert [r["peak"] for r in found.record()["regions"]] == [r.peak for r in found.regions]
    assert equal > len(defects) / 2
    assert listed >= len(defects)


def test_small_regions_can_be_left_out(predictor: BundlePredictor, defects: list[np.ndarray]) -> None:
    lax = predictor.at_false_pixel_rate(0.1)
    all_of_it = lax.predict(defects)
    least = int(np.median([region.area for one in all_of_it for region in one.regions or ()]))
    found = lax.with_smallest_region(least).predict(defects)
    for one, other in zip(found, all_of_it, strict=True):
        assert one.regions is not None
        assert other.regions is not None
        assert one.regions == tuple(region for region in other.regions if region.area >= least)
        assert one.mask is not None
        assert np.count_nonzero(one.mask) == sum(region.area for region in one.regions)
    assert 0 < sum(len(one.regions or ()) for one in found) < sum(len(one.regions or ()) for one in all_of_it)
    with pytest.raises(ConfigError, match="smallest_region is 0; give a number of pixels of at least 1"):
        predictor.with_smallest_region(0)


def test_without_maps_there_are_no_regions(predictor: BundlePredictor, images: list[Path]) -> None:
    prediction = predictor.predict(images[:1], heat_maps=False)[0]
    assert prediction.regions is None
    assert prediction.mask is None
    assert "regions" not in prediction.record()


def test_a_record_stays_small(predictor: BundlePredictor, images: list[Path]) -> None:
    prediction = predictor.at_false_pixel_rate(0.1).predict(images[:1])[0]
    region = Region(9, 0.1, (0, 0, 3, 3), (1.0, 1.0), 5.0)
    record = replace(prediction, regions=(region,) * 1000).record()
    assert (record["region_count"], len(record["regions"])) == (1000, 100)
    assert record["regions"][0] == region.record()


def _score_elsewhere(work: tuple[BundlePredictor, list[Path]]) -> list[float]:
    predictor, paths = work
    return [float(score) for score in predictor.score(paths)]


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_an_opened_bundle_is_copied_pickled_and_sent_to_a_new_process(
    kind: str, images: list[Path], request: pytest.FixtureRequest
) -> None:
    file: Path = request.getfixturevalue("bundle_file" if kind == "onnx" else "openvino_file")
    opened = patchebm.load(file, threads=1)
    assert isinstance(opened, BundlePredictor)
    # What a user changed goes along.
    opened = opened.at_false_alarm_rate(0.3)
    expected = [p.record() for p in opened.predict(images[:2])]
    for other in (copy.deepcopy(opened), pickle.loads(pickle.dumps(opened))):
        assert [p.record() for p in other.predict(images[:2])] == expected
        assert other.threshold_ == opened.threshold_
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (scores,) = pool.map(_score_elsewhere, [(opened, images[:2])])
    assert scores == pytest.approx([record["score"] for record in expected], abs=1e-5)


def test_a_bad_image_costs_no_other(bundle_file: Path, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(images[0].read_bytes()[:300])
    paths = [images[0], tmp_path / "bad.png", images[1], images[2]]
    predictor = patchebm.load(bundle_file, batch=4)
    outcomes = list(predictor.outcomes(paths, heat_maps=False))
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Prediction", "ImageError", "Prediction", "Prediction",
    ]  # fmt: skip
    scores = [outcome.score for outcome in outcomes if isinstance(outcome, Prediction)]
    assert scores == pytest.approx(list(predictor.score(images[:3])), rel=1e-5)
    with pytest.raises(ImageError, match=r"bad\.png"):
        predictor.predict(paths)
