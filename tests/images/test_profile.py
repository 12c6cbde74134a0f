"""What a model remembers of its images, and when it says that others differ."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from patchebm.images.newcomers import FIRST, LATEST, WINDOW, Newcomers
from patchebm.images.photo import Photo
from patchebm.images.profile import Profile, Traits, difference_sentence, jpeg_quality
from tests.tiny import flanges

Change = Callable[[Image.Image], Image.Image]


def photo(image: Image.Image, kind: str = "PNG", **settings: object) -> Photo:
    """A photo of an image that lies in no file."""
    stream = io.BytesIO()
    image.save(stream, format=kind, **settings)
    made = Photo(f"part.{kind.lower()}")
    made.__dict__["content"] = stream.getvalue()
    return made


def parts(n: int, split: str = "train/good") -> list[Image.Image]:
    return [Image.fromarray(np.rint(255 * image).astype(np.uint8)) for image in flanges(n, split=split)]


def traits(images: list[Image.Image], kind: str = "PNG", **settings: object) -> list[Traits]:
    return [Traits.of(photo(image, kind, **settings)) for image in images]


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile.of(traits(parts(12)))


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 90, 95, 99, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int) -> None:
    with Image.open(io.BytesIO(photo(parts(1)[0], "JPEG", quality=quality).content)) as image:
        assert jpeg_quality(image.quantization[0]) == quality  # type: ignore[attr-defined]


def test_traits_of_a_known_image() -> None:
    found = Traits.of(photo(Image.new("RGB", (40, 20), (51, 51, 51))))
    assert (found.kind, found.quality, found.width, found.height, found.grey) == ("PNG", None, 40, 20, True)
    assert [found.brightness, found.light] == pytest.approx([0.2, 0.2])
    # Nothing to be sharp: both differences vanish.
    assert found.sharpness == 0
    assert not Traits.of(
        photo(Image.new("L", (40, 20), 51).convert("RGB").point([51] * 512 + [99] * 256))
    ).grey
    # An image of no more than the seven pixels that a difference takes.
    assert Traits.of(photo(Image.new("L", (3, 9)))).sharpness == 0


def test_sharpness_is_of_edges_and_not_of_light() -> None:
    image = parts(1)[0]
    sharp = Traits.of(photo(image)).sharpness
    half_the_contrast = image.point(lambda value: value // 2 + 40)
    assert Traits.of(photo(half_the_contrast)).sharpness == pytest.approx(sharp, abs=0.02)
    blurred = [
        Traits.of(photo(image.filter(ImageFilter.GaussianBlur(radius)))).sharpness for radius in (1, 2)
    ]
    assert sharp > blurred[0] > blurred[1]
    # White noise: the variances of both second differences are those of the same weights.
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), dtype=np.uint8)
    assert Traits.of(photo(Image.fromarray(noise))).sharpness == pytest.approx(0, abs=0.02)


def test_light_is_that_of_the_brightest_tenth() -> None:
    image = Image.new("L", (100, 100), 51)
    image.paste(255, (0, 0, 100, 5))
    image.paste(0, (0, 50, 100, 100))
    found = Traits.of(photo(image))
    assert found.light == pytest.approx((1 + 0.2) / 2, abs=1e-6)
    assert found.brightness == pytest.approx(0.05 + 0.45 * 0.2, abs=1e-6)


def test_where_white_is_shown_the_mean_tells_more_light(profile: Profile) -> None:
    def framed(gain: float) -> list[Traits]:
        images = parts(10)
        for image in images:
            image.paste((255, 255, 255), (0, 0, 64, 16))
        return traits([image.point(lambda value: min(255, round(gain * value))) for image in images])

    white = Profile.of(framed(1.0))
    assert white.mean["light"] > math.log(0.97)
    assert "brighter" in white.differences(framed(1.4))["brightness"][1]
    assert "darker" in white.differences(framed(0.8))["brightness"][1]


def test_a_profile_survives_json_and_what_is_none_is_no_profile(profile: Profile) -> None:
    assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile
    with_jpegs = Profile.of(traits(parts(2), "JPEG", quality=80))
    assert with_jpegs.jpeg_quality == (80, 80)
    assert Profile.from_dict(json.loads(json.dumps(with_jpegs.to_dict()))) == with_jpegs
    for junk in (None, 3, {}, {**profile.to_dict(), "mean": {}}, {**profile.to_dict(), "kinds": 3}):
        assert Profile.from_dict(junk) is None


CHANGED: dict[str, tuple[Change, str, dict[str, object], str]] = {
    "kind": (lambda image: image, "JPEG", {"quality": 90}, "JPEG at quality 90"),
    "bmp": (lambda image: image, "BMP", {}, "BMP"),
    "size": (lambda image: image.resize((32, 32)), "PNG", {}, "32 x 32 pixels"),
    "aspect": (lambda image: image.crop((0, 0, 64, 56)), "PNG", {}, "64 x 56 pixels"),
    "darker": (lambda image: image.point(lambda value: round(0.8 * value)), "PNG", {}, "% darker"),
    "brighter": (
        lambda image: image.point(lambda value: min(255, round(1.4 * value))),
        "PNG",
        {},
        "% brighter",
    ),
    "blurred": (lambda image: image.filter(ImageFilter.GaussianBlur(1.5)), "PNG", {}, "less sharp"),
    "grey": (lambda image: image.convert("L"), "PNG", {}, "grey"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_differs_is_named(profile: Profile, name: str) -> None:
    change, kind, settings, words = CHANGED[name]
    found = profile.differences(traits([change(image) for image in parts(12, "test/good")], kind, **settings))
    assert found
    assert words in difference_sentence(found, 12)


def test_like_images_differ_in_nothing(profile: Profile) -> None:
    for count in (1, 8, 40):
        assert profile.differences(traits(parts(count, "test/good"))) == {}


def test_brightness_and_sharpness_of_few_images_say_nothing(profile: Profile) -> None:
    dark = traits([image.point(lambda value: value // 2) for image in parts(8, "test/good")])
    assert profile.differences(dark[:7]) == {}
    assert set(profile.differences(dark)) == {"brightness"}


def test_a_mixture_is_told_with_counts() -> None:
    mixed = Profile.of(traits(parts(4)) + traits(parts(4), "JPEG", quality=80))
    assert mixed.differences(traits(parts(3), "JPEG", quality=83)) == {}
    found = mixed.differences(traits(parts(2)) + traits(parts(1), "JPEG", quality=40))
    assert found == {"quality": ("PNG or JPEG at quality 80", "JPEG at quality 40 (1 of them)")}


def test_the_sentence() -> None:
    both = {"kind": ("PNG", "JPEG at quality 90"), "brightness": ("", "20 % darker")}
    assert difference_sentence(both, 60) == (
        "the model was trained on images that are PNG; these 60 images are JPEG at quality 90 and 20 % "
        "darker, so that good parts may be called anomalous and defects be missed: give it images like "
        "those, or train or calibrate on images like these"
    )
    assert difference_sentence({"brightness": ("", "20 % darker")}, 60).startswith(
        "these 60 images are 20 % darker than those that the model was trained on, so that"
    )
    assert "; this image is grey, so" in difference_sentence({"colour": ("in colour", "grey")}, 1)


def test_by_chance_it_speaks_seldom() -> None:
    """Numbers of one normal distribution: the stated rate is below one comparison in ten thousand."""
    rng = np.random.default_rng(0)

    def drawn(count: int) -> list[Traits]:
        return [
            Traits("PNG", None, 64, 64, False, 0.4, math.exp(rng.normal(-1, 0.3)), rng.normal(-1, 0.2))
            for _ in range(count)
        ]

    assert not any(Profile.of(drawn(30)).differences(drawn(10)) for _ in range(500))


class TestNewcomers:
    def offer(self, profile: Profile | None, images: list[Traits], *, finish: bool = True) -> list[str]:
        said: list[str] = []
        newcomers = Newcomers(profile, said.append)
        for one in images:
            newcomers.take(one)
        if finish:
            newcomers.finish()
        return said

    def test_each_difference_is_said_once(self, profile: Profile) -> None:
        grey = traits([image.convert("L") for image in parts(20)])
        (sentence,) = self.offer(profile, grey)
        assert f"these {FIRST} images are grey" in sentence
        small = traits([image.convert("L").resize((32, 32)) for image in parts(20)]) * 5
        first, second = self.offer(profile, grey + small)
        assert first == sentence
        assert "32" in second
        assert "grey" not in second

    def test_a_few_are_looked_at_when_no_more_come(self, profile: Profile) -> None:
        grey = traits([image.convert("L") for image in parts(3)])
        assert self.offer(profile, grey, finish=False) == []
        assert len(self.offer(profile, grey)) == 1

    def test_a_model_without_a_profile_says_nothing(self) -> None:
        assert self.offer(None, traits([image.convert("L") for image in parts(8)])) == []

    def test_a_camera_that_changes_later_is_noticed(self, profile: Profile) -> None:
        good = traits(parts(8, "test/good"))
        dark = traits([image.point(lambda value: value // 2) for image in parts(8, "test/good")])
        assert self.offer(profile, good * (WINDOW // 4)) == []
        (sentence,) = self.offer(profile, good * (WINDOW // 4) + dark * (LATEST // 4))
        assert "darker" in sentence

    def test_a_file_that_is_gone_is_passed_over(self, profile: Profile, tmp_path: Path) -> None:
        said: list[str] = []
        newcomers = Newcomers(profile, said.append)
        newcomers.add(Photo(tmp_path / "gone.png"))
        newcomers.finish()
        assert said == []


def test_real_images_of_one_camera_are_alike_and_jpegs_are_not(real_data: Path) -> None:
    def some(folder: str, count: int) -> list[Image.Image]:
        return [Image.open(path) for path in sorted((real_data / "solar_poly" / folder).iterdir())[:count]]

    trained = Profile.of(traits(some("train/good", 30)))
    new = some("test/good", 10)
    assert trained.differences(traits(new)) == {}
    assert "kind" in trained.differences(traits(new, "JPEG", quality=90))
