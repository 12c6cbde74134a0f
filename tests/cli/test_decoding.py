"""Images of 10, 12 and 14 bits, transparent ones, pages and heights, from training to the line."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import patchebm
from patchebm.cli.main import main
from patchebm.detector import EnsembleDetector
from patchebm.detector.modelfile import load_model, save_model
from patchebm.errors import ImageError
from patchebm.images.decoding import Decoding
from patchebm.runtime.bundle import read_bundle, write_bundle
from tests.failing import failure
from tests.image_files import png, save, tiff
from tests.tiny import flanges, tiny_features, write_set

BITS = (10, 12, 14)


def as_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Returns the grey image that a camera of so many bits would give, `(H, W)` uint16."""
    return np.rint(pixels.mean(2) * (2**bits - 1)).astype(np.uint16)


def fit(images: list[Any], **options: Any) -> EnsembleDetector:
    return EnsembleDetector(tiny_features(), **options).fit(images)


def scores_of(file: Path) -> list[float]:
    return [record["score"] for record in json.loads(file.read_text())]


@pytest.fixture(scope="module")
def parts() -> list[np.ndarray]:
    """Twelve good parts and two scratched ones, the last of which are for tests."""
    return [*flanges(12), *flanges(2, "scratch", "test/scratch")]


@pytest.mark.parametrize("bits", BITS)
def test_scores_are_those_of_the_full_range(
    bits: int, parts: list[np.ndarray], recwarn: pytest.WarningsRecorder
) -> None:
    """But for rounding to 1/65535, of which training makes hundredths of a standard deviation."""
    images = [as_bits(part, bits) for part in parts]
    stretched = [np.rint(image * (65535 / (2**bits - 1))).astype(np.uint16) for image in images]
    model, full = fit(images[:9]), fit(stretched[:9])
    assert model.decoding_.white_level == 2**bits - 1
    assert full.decoding_.white_level == 65535
    np.testing.assert_allclose(model.score(images[9:]), full.score(stretched[9:]), atol=0.03)
    np.testing.assert_allclose(model.threshold_.value, full.threshold_.value, atol=0.03)
    assert [str(one.message) for one in recwarn.list] == []


@pytest.mark.parametrize("bits", BITS)
def test_a_model_of_bits_at_the_upper_end_is_the_same(bits: int, parts: list[np.ndarray]) -> None:
    images = [as_bits(part, bits) for part in parts]
    low = fit(images[:9])
    high = fit([image << (16 - bits) for image in images[:9]])
    found = high.score([image << (16 - bits) for image in images[9:]])
    np.testing.assert_array_equal(found, low.score(images[9:]))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.filterwarnings("ignore:.*nearly black")
def test_another_depth_makes_other_scores(bits: int, parts: list[np.ndarray]) -> None:
    """What happened before: a stated depth of 16 makes other scores of the same images."""
    images = [as_bits(part, bits) for part in parts]
    wrong = fit(images[:9], decoding=Decoding(white_level=65535))
    assert np.abs(wrong.score(images[9:]) - fit(images[:9]).score(images[9:])).max() > 0.3


def encodings(image: np.ndarray, folder: Path) -> dict[str, Any]:
    """Returns a 16-bit image as all that a predictor takes."""
    colour = np.dstack([image] * 3)
    (folder / "colour.png").write_bytes(png(colour, 2))
    (folder / "colour.tif").write_bytes(tiff(colour))
    (folder / "grey-alpha.png").write_bytes(png(np.dstack([image, np.full_like(image, 65535)]), 4))
    np.save(folder / "grey.npy", image)
    np.save(folder / "colour.npy", colour)
    files = [save(folder / name, image) for name in ("grey.png", "grey.tif")]
    files += [
        folder / name for name in ("colour.png", "colour.tif", "grey-alpha.png", "grey.npy", "colour.npy")
    ]
    return {
        **{file.name: file for file in files},
        "array": image,
        "colour array": colour,
        "I;16": Image.fromarray(image),
        "opened PNG": Image.open(folder / "grey.png"),
        "opened TIFF": Image.open(folder / "grey.tif"),
        "bytes": (folder / "grey.png").read_bytes(),
        "pixels": image.astype(np.float32) / np.float32(4095),
    }


def test_16_bits_are_the_same_whatever_they_come_in(parts: list[np.ndarray], tmp_path: Path) -> None:
    model = fit([as_bits(part, 12) for part in parts[:9]])
    image = as_bits(parts[-1], 12)
    found = {name: model.score(one)[0] for name, one in encodings(image, tmp_path).items()}
    assert found == dict.fromkeys(found, pytest.approx(found["pixels"], abs=1e-5))
    lazy = Image.open(tmp_path / "colour.png")
    with pytest.raises(ImageError, match="Pillow keeps the upper byte alone"):
        model.score(lazy)


def test_training_takes_all_kinds_together(parts: list[np.ndarray], tmp_path: Path) -> None:
    images = [as_bits(part, 12) for part in parts[:9]]
    expected = fit(images)
    mixed: list[Any] = []
    for i, image in enumerate(images):
        (tmp_path / str(i)).mkdir()
        mixed.append(list(encodings(image, tmp_path / str(i)).values())[i])
    found = fit(mixed)
    assert found.decoding_ == expected.decoding_
    assert found.score(images[0])[0] == pytest.approx(expected.score(images[0])[0], abs=0.05)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set as 12-bit PNG, as `mono12`, and the same at the upper end of 16 bits, as `upper`."""
    root = tmp_path_factory.mktemp("sets")
    source = write_set(root / "colour")
    for name, shift in (("mono12", 0), ("upper", 4)):
        shutil.copytree(source, root / name)
        for path in (root / name).rglob("*.png"):
            if "ground_truth" not in path.parts:
                pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float64) / 255
                save(path, as_bits(pixels, 12) << shift)
    return root


@pytest.fixture(scope="module")
def runs(sets: Path, tiny_yaml: Path) -> dict[str, Path]:
    """A run of each."""
    found = {}
    for name in ("mono12", "upper"):
        found[name] = sets / f"{name}-run"
        assert main(["train", str(sets / name), "--out", str(found[name]), "--config", str(tiny_yaml)]) == 0
    return found


def test_train_says_what_it_took_and_the_model_keeps_it(
    sets: Path, runs: dict[str, Path], tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", str(sets / "mono12"), "--out", str(out), "--config", str(tiny_yaml)]) == 0
    said = capsys.readouterr().err
    assert said.count("read as 12-bit data, in which white is 4095; --bits states another depth") == 1
    assert "16 bits per channel" not in said
    facts = json.loads((out / "model.json").read_text())["facts"]
    assert facts["decoding"]["white_level"] == 4095
    assert json.loads((out / "run.json").read_text())["decoding"] == facts["decoding"]
    assert json.loads((runs["upper"] / "run.json").read_text())["decoding"]["white_level"] == 65520


def test_every_verb_reads_as_training_did(
    sets: Path, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two cameras that differ in the layout of their bits give the same figures everywhere."""
    found: dict[str, list[Any]] = {}
    for name, run in runs.items():
        images, own = sets / name, tmp_path / name
        own.mkdir()
        bundle = own / "part.patchebm"
        assert main(["export", str(run), "--out", str(bundle)]) == 0
        assert read_bundle(bundle).card["decoding"] == patchebm.load(run).decoding_.to_dict()
        assert main(["predict", str(bundle), str(images / "test"), "--json", str(own / "bundle.json")]) == 0
        assert (
            main(["evaluate", str(run), str(images), "--json", str(own / "e.json"), "--report", str(own)])
            == 0
        )
        results = json.loads((own / "e.json").read_text())
        assert results["warnings"] == []
        capsys.readouterr()
        command = ["watch", str(images / "test"), "--model", str(bundle), "--out", str(own / "w"), "--once"]
        assert main([*command, "--settle", "0"]) == 0
        assert "note:" not in capsys.readouterr().err
        lines = (own / "w" / "results.jsonl").read_text().splitlines()
        watched = {record["image"]: record["score"] for record in map(json.loads, lines)}
        calibrated = own / "calibrated"
        # Images that the run was not trained on, as `calibrate` asks.
        (own / "fresh").mkdir(parents=True, exist_ok=True)
        fresh = []
        for file in sorted((images / "train" / "good").iterdir())[:6]:
            with Image.open(file) as image:
                image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(own / "fresh" / file.name)
            fresh.append(own / "fresh" / file.name)
        assert main(["calibrate", str(run), *map(str, fresh), "--out", str(calibrated)]) == 0
        found[name] = [
            scores_of(own / "bundle.json"),
            [record["score"] for record in results["predictions"]],
            dict(sorted(watched.items())),
            patchebm.load(calibrated).score(sorted((images / "test" / "good").iterdir())).tolist(),
        ]
        assert len(found[name][0]) == len(found[name][2]) > 5
    for one, other in zip(found["mono12"], found["upper"], strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_a_later_image_that_does_not_fit_is_said_once(
    sets: Path, runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = sorted((sets / "mono12" / "test" / "good").iterdir())
    deep = [np.asarray(Image.open(path)) for path in test]
    for i, image in enumerate(deep):
        save(tmp_path / f"bright-{i}.png", image * 16)
        save(tmp_path / f"shallow-{i}.png", (image >> 4).astype(np.uint8))
        shutil.copy(test[i], tmp_path / f"fits-{i}.png")
    assert main(["predict", str(runs["mono12"]), str(tmp_path)]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "note: " in line]
    assert len(notes) == 2
    assert "bright-0.png has values up to" in notes[0]
    assert "shallow-0.png has 8 bits per channel" in notes[1]
    assert main(["predict", str(runs["mono12"]), str(sets / "mono12" / "test")]) == 0
    assert "note: " not in capsys.readouterr().err
    # Into the report, too.
    other = shutil.copytree(sets / "mono12", tmp_path / "other")
    save(other / "test" / "good" / test[0].name, deep[0] * 16)
    assert main(["evaluate", str(runs["mono12"]), str(other), "--json", str(tmp_path / "e.json")]) == 0
    (warning,) = json.loads((tmp_path / "e.json").read_text())["warnings"]
    assert f"{test[0].name} has values up to" in warning
    with pytest.warns(UserWarning, match="image 1 has values up to"):
        patchebm.load(runs["mono12"]).score([deep[0], deep[0] * 16, deep[1] * 16])


def test_16_bit_images_for_a_model_of_8_bits(
    run_folder: Path, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = np.asarray(Image.open(images[0]).convert("L")).astype(np.uint16) * 257
    path = save(tmp_path / "deep.png", deep)
    assert main(["predict", str(run_folder), str(path), str(images[0])]) == 0
    said = capsys.readouterr().err
    assert (
        "deep.png has 16 bits per channel, and no training image had: it is read with white at 65535" in said
    )


def test_stated_bits(sets: Path, tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    command = ["train", str(sets / "mono12"), "--out", str(out), "--config", str(tiny_yaml)]
    assert main([*command, "--bits", "14"]) == 0
    assert "the brightest value" not in capsys.readouterr().err
    assert patchebm.load(out).decoding_.white_level == 2**14 - 1
    for bits in ("7", "17", "x", "12.5", "-1"):
        assert "give 8 to 16, or auto" in failure(capsys, *command, f"--bits={bits}")
    assert main([*command, "--overwrite", "--bits", "10"]) == 0
    assert "above 1023, from where on all is read as white" in capsys.readouterr().err


def test_an_interrupted_run_of_another_depth_is_another_run(
    sets: Path, runs: dict[str, Path], tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(runs["mono12"], out)
    (out / "model.json").unlink()
    command = ["train", str(sets / "mono12"), "--out", str(out), "--config", str(tiny_yaml)]
    assert "holds an interrupted run of another" in failure(capsys, *command, "--bits", "14")
    assert main(command) == 0
    assert "going on with it" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["run", "bundle"])
def test_models_that_keep_no_rule_read_as_they_did(
    kind: str, sets: Path, runs: dict[str, Path], bundle_file: Path, tmp_path: Path
) -> None:
    if kind == "run":
        facts, tensors = load_model(runs["mono12"])
        del facts["decoding"]
        save_model(tmp_path / "old", facts, tensors)
    else:
        bundle = read_bundle(bundle_file)
        del bundle.card["decoding"]
        write_bundle(tmp_path / "old", bundle.card, bundle.members)
    model = patchebm.load(tmp_path / "old")
    assert model.decoding_ == Decoding(white_level=65535, background=None)
    image = next((sets / "mono12" / "test" / "good").iterdir())
    pixels = np.asarray(Image.open(image)).astype(np.float32) / np.float32(65535)
    with pytest.warns(UserWarning, match="read as nearly black"):
        assert model.score(image)[0] == model.score(pixels)[0]


@pytest.mark.parametrize("kind", ["run", "bundle"])
def test_a_model_with_a_bad_rule_is_refused(
    kind: str,
    sets: Path,
    runs: dict[str, Path],
    bundle_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = {"white_level": -3, "page": None, "background": None, "range": None}
    if kind == "run":
        facts, tensors = load_model(runs["mono12"])
        save_model(tmp_path / "bad", facts | {"decoding": bad}, tensors)
    else:
        bundle = read_bundle(bundle_file)
        write_bundle(tmp_path / "bad", bundle.card | {"decoding": bad}, bundle.members)
    image = str(next((sets / "mono12" / "test" / "good").iterdir()))
    said = failure(capsys, "predict", str(tmp_path / "bad"), image)
    assert f"{tmp_path / 'bad'}" in said
    assert "the white level is -3" in said


def write_variants(folder: Path, write: Callable[[Path, np.ndarray], object], suffix: str) -> Path:
    """Writes nine good parts by a function, as a folder of images."""
    folder.mkdir(parents=True)
    for i, part in enumerate(flanges(9)):
        write(folder / f"{i}{suffix}", np.rint(part * 255).astype(np.uint8))
    return folder


def test_transparent_images_are_filled_and_that_is_said(
    tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clear = np.arange(64 * 64).reshape(64, 64) % 5 == 0

    def transparent(path: Path, part: np.ndarray) -> None:
        # Nonsense under the transparent pixels, as image editors leave it.
        noise = np.random.default_rng(0).integers(0, 256, part.shape, dtype=np.uint8)
        save(
            path,
            np.dstack([np.where(clear[..., None], noise, part), np.where(clear, 0, 255).astype(np.uint8)]),
        )

    def filled(path: Path, part: np.ndarray) -> None:
        save(path, np.where(clear[..., None], np.uint8([255, 128, 0]), part))

    alpha = write_variants(tmp_path / "alpha", transparent, ".png")
    plain = write_variants(tmp_path / "plain", filled, ".png")
    options = ["--config", str(tiny_yaml)]
    assert main(["train", str(alpha), "--out", str(tmp_path / "a"), *options, "--background", "#ff8000"]) == 0
    said = capsys.readouterr().err
    assert "9 of 9 images are transparent in places: the background #ff8000 shines through" in said
    assert main(["train", str(plain), "--out", str(tmp_path / "b"), *options]) == 0
    assert "transparent" not in capsys.readouterr().err
    one, other = patchebm.load(tmp_path / "a"), patchebm.load(tmp_path / "b")
    expected = other.score(sorted(plain.iterdir()))
    np.testing.assert_array_equal(one.score(sorted(alpha.iterdir())), expected)
    assert other.score(sorted(alpha.iterdir()))[0] != expected[0]
    assert main(["train", str(alpha), "--out", str(tmp_path / "c"), *options, "--background", "keep"]) == 0
    assert "they keep the colours that the files have there" in capsys.readouterr().err
    bad = ["train", str(alpha), "--out", str(tmp_path / "d"), *options, "--background", "no"]
    assert "'no' is no colour" in failure(capsys, *bad)


def test_a_page_and_a_range_are_kept(
    tiny_yaml: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second page of each file holds heights in millimetres."""

    def heights(path: Path, part: np.ndarray) -> None:
        second = Image.fromarray(part[..., 0].astype(np.float32) * 0.01 - 1)
        Image.fromarray(255 - part).save(path, save_all=True, append_images=[second])

    def grey(path: Path, part: np.ndarray) -> None:
        save(path, part[..., 0])

    pages = write_variants(tmp_path / "pages", heights, ".tif")
    plain = write_variants(tmp_path / "plain", grey, ".png")
    command = ["train", str(pages), "--out", str(tmp_path / "a"), "--config", str(tiny_yaml)]
    assert "holds 2 pages; train with --page 1" in failure(capsys, *command)
    assert "--range LOW HIGH" in failure(capsys, *command, "--page", "2")
    assert "has no page 3, only 2" in failure(capsys, *command, "--page", "3")
    assert "page 0 is no page" in failure(capsys, *command, "--page", "0")
    assert "holds no numbers" in failure(capsys, *command, "--page", "2", "--range", "1", "1")
    assert main([*command, "--page", "2", "--range", "-1", "1.55"]) == 0
    assert main(["train", str(plain), "--out", str(tmp_path / "b"), "--config", str(tiny_yaml)]) == 0
    capsys.readouterr()
    scores = []
    for run, images in (("a", pages), ("b", plain)):
        file = tmp_path / f"{run}.json"
        assert main(["predict", str(tmp_path / run), str(images), "--json", str(file)]) == 0
        assert "note:" not in capsys.readouterr().err
        scores.append(scores_of(file))
    np.testing.assert_allclose(*scores, atol=0.05)
    for folder in ("train/good", "test/good", "test/bad"):
        shutil.copytree(pages, tmp_path / "set" / folder)
    assert main(["evaluate", str(tmp_path / "a"), str(tmp_path / "set")]) == 0
    deeper = tmp_path / "deeper.tif"
    second = Image.new("F", (64, 64), 2.0)
    Image.new("L", (64, 64)).save(deeper, save_all=True, append_images=[second])
    assert main(["predict", str(tmp_path / "a"), str(deeper)]) == 0
    assert "numbers from 2 to 2, beyond the range of -1 to 1.55" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".npy", ".webp", ".jfif", ".jpe"])
def test_folders_of_other_files(suffix: str, tiny_yaml: Path, tmp_path: Path) -> None:
    def write(path: Path, part: np.ndarray) -> None:
        stream = io.BytesIO()
        if suffix == ".npy":
            np.save(stream, part)
        else:
            Image.fromarray(part).save(stream, "WEBP" if suffix == ".webp" else "JPEG", quality=95)
        path.write_bytes(stream.getvalue())

    images = write_variants(tmp_path / "images", write, suffix)
    run, file = tmp_path / "run", tmp_path / "p.json"
    assert main(["train", str(images), "--out", str(run), "--config", str(tiny_yaml)]) == 0
    assert main(["predict", str(run), str(images), "--json", str(file), "--out", str(tmp_path / "maps")]) == 0
    assert len(scores_of(file)) == len(list((tmp_path / "maps").iterdir())) == 9


def test_help_shows_the_rare_options_in_full_only(capsys: pytest.CaptureFixture[str]) -> None:
    printed = {}
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            main(["train", option])
        printed[option] = capsys.readouterr().out
    assert "--bits N" in printed["--help"]
    for rare in ("--page N", "--range LOW HIGH", "--background COLOUR"):
        assert rare not in printed["--help"]
        assert rare in printed["--help-all"]
