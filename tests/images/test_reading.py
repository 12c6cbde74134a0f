from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from patchebm.errors import ImageError
from patchebm.images import decoders
from patchebm.images.decoders import MAX_BYTES, MAX_PIXELS, decode
from patchebm.images.decoding import STANDARD, Decoding
from patchebm.images.formats import SUFFIXES
from patchebm.images.reading import read_image, read_mask
from tests.image_files import png, save, tiff, written

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
DEEP_RGB = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
KEEP = Decoding(background=None)
SMOOTH = (np.add.outer(np.arange(40), np.arange(56))[..., None] * (1, 2, 0.5)).astype(np.uint8)


def sentence(path: Path, read: Any = read_image) -> str:
    """The error's text, checked to be one sentence that names the file."""
    with pytest.raises(ImageError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert "; " in text, "the fix is missing"
    return text


def check(path: Path, expected: np.ndarray, white: int = 255) -> None:
    found = read_image(path)
    expected = expected if expected.ndim == 3 else expected[..., None]
    assert found.dtype == np.float32
    assert found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, expected.astype(np.float32) / np.float32(white))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF", "a.PNG"])
@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
def test_8_bits_are_read_without_loss(tmp_path: Path, name: str, array: np.ndarray) -> None:
    assert Path(name).suffix.lower() in SUFFIXES
    check(save(tmp_path / name, array), array)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("array", [GREY, RGB, DEEP], ids=["grey", "rgb", "deep"])
def test_compressed_tiff(tmp_path: Path, compression: str, array: np.ndarray) -> None:
    path = save(tmp_path / "a.tif", array, compression=compression)
    check(path, array, 65535 if array is DEEP else 255)


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(tmp_path: Path, progressive: bool) -> None:
    for array in (SMOOTH, SMOOTH[..., 0]):
        path = save(tmp_path / "a.jpg", array, quality=95, subsampling=0, progressive=progressive)
        found = read_image(path)
        assert found.shape == (40, 56, array.ndim if array.ndim == 3 else 1)
        assert np.abs(found.squeeze() - array / 255).max() < 0.03


def test_the_content_counts_and_not_the_ending(tmp_path: Path) -> None:
    check(save(tmp_path / "a.jpg", RGB, format="PNG"), RGB)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_grey_keeps_every_level(tmp_path: Path, name: str) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    path = save(tmp_path / name, levels)
    check(path, levels, 65535)
    assert len(np.unique(read_image(path))) == 65536


@pytest.mark.parametrize("order", "<>")
def test_16_bit_grey_tiff_in_both_byte_orders(tmp_path: Path, order: str) -> None:
    check(written(tmp_path / "a.tif", tiff(DEEP, order)), DEEP, 65535)


def test_white_is_zero_tiff(tmp_path: Path) -> None:
    check(written(tmp_path / "8.tif", tiff(GREY, photometric=0)), 255 - GREY)
    check(written(tmp_path / "16.tif", tiff(DEEP, photometric=0)), 65535 - DEEP, 65535)


def test_12_bit_tiff(tmp_path: Path) -> None:
    array = RNG.integers(0, 4096, (5, 8), dtype=np.uint16)
    bits = "".join(f"{value:012b}" for value in array.ravel())
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    check(written(tmp_path / "a.tif", tiff(array, data=data, bits=12)), array, 4095)


@pytest.mark.parametrize("kind", ["png", "<", ">", "<deflate", ">deflate"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_keeps_every_level(tmp_path: Path, kind: str, channels: int) -> None:
    array = np.dstack([DEEP_RGB, DEEP])[:, :, :channels]
    if kind == "png":
        data = png(array, {3: 2, 4: 6}[channels])
    else:
        data = tiff(array, kind[0], compression=8 if "deflate" in kind else 1)
    path = written(tmp_path / "a", data)
    np.testing.assert_array_equal(decode(data, path).values, DEEP_RGB)
    np.testing.assert_array_equal(read_image(path, KEEP), DEEP_RGB.astype(np.float32) / np.float32(65535))


def test_16_bit_grey_with_alpha_keeps_every_level(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 65536, DEEP.shape, dtype=np.uint16)
    samples = decode(png(np.dstack([DEEP, alpha]), 4), tmp_path)
    np.testing.assert_array_equal(samples.values[..., 0], DEEP)
    np.testing.assert_array_equal(samples.alpha, alpha)


def test_interlaced_16_bit_colour(tmp_path: Path) -> None:
    array = RNG.integers(0, 65536, (8, 8, 3), dtype=np.uint16)
    data = png(array, 2, interlaced=True)
    np.testing.assert_array_equal(decode(data, tmp_path).values, array)


def test_16_bit_colour_of_which_half_is_covered(tmp_path: Path) -> None:
    """Colours that are multiplied by alpha in the file are divided again."""
    alpha = np.full((5, 7, 1), 32768, np.uint16)
    data = tiff(np.concatenate([DEEP_RGB // 2, alpha], 2), extra=1)
    assert np.abs(decode(data, tmp_path).values.astype(int) - DEEP_RGB).max() <= 2


class TestTransparency:
    ALPHA = np.where(np.arange(35).reshape(5, 7) % 3, 255, 0).astype(np.uint8)
    CLEAR = ALPHA == 0

    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
    def test_the_background_shines_through(self, tmp_path: Path, name: str) -> None:
        path = save(tmp_path / name, np.dstack([RGB, self.ALPHA]), lossless=True, exact=True)
        check(path, np.where(self.CLEAR[..., None], 255, RGB))
        np.testing.assert_array_equal(read_image(path, KEEP), RGB.astype(np.float32) / 255)
        found = read_image(path, Decoding(background=(255, 128, 0)))
        np.testing.assert_allclose(found[self.CLEAR] * 255, np.tile([255, 128, 0], (self.CLEAR.sum(), 1)))

    def test_grey_takes_the_brightness_of_the_background(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", np.dstack([GREY, self.ALPHA]))
        check(path, np.where(self.CLEAR, 255, GREY))
        found = read_image(path, Decoding(background=(0, 255, 0)))
        np.testing.assert_allclose(found[self.CLEAR], 0.587, rtol=1e-6)

    def test_a_half_covered_pixel_is_between_both(self, tmp_path: Path) -> None:
        half = np.full((5, 7), 51, np.uint8)
        found = read_image(
            save(tmp_path / "a.png", np.dstack([RGB, half])), Decoding(background=(10, 20, 30))
        )
        np.testing.assert_allclose(found * 255, 0.2 * RGB + 0.8 * np.array([10, 20, 30]), atol=1e-4)

    def test_a_colour_that_is_declared_transparent(self, tmp_path: Path) -> None:
        grey = save(tmp_path / "a.png", GREY, transparency=int(GREY[0, 0]))
        check(grey, np.where(GREY[0, 0] == GREY, 255, GREY))
        deep = png(DEEP, 0, tRNS=struct.pack(">H", DEEP[0, 0]))
        found = read_image(written(tmp_path / "b.png", deep), Decoding(background=(0, 0, 0)))[..., 0]
        np.testing.assert_array_equal(found == 0, DEEP[0, 0] == DEEP)
        colours = png(DEEP_RGB, 2, tRNS=struct.pack(">HHH", *DEEP_RGB[1, 1]))
        found = read_image(written(tmp_path / "c.png", colours), Decoding(background=(0, 0, 0)))
        np.testing.assert_array_equal((found == 0).all(2), (DEEP_RGB[1, 1] == DEEP_RGB).all(2))

    def test_an_opaque_image_is_what_it_is_without_alpha(self, tmp_path: Path) -> None:
        opaque = np.dstack([RGB, np.full_like(GREY, 255)])
        path = save(tmp_path / "a.png", opaque)
        assert decode(path.read_bytes(), path).alpha is None
        check(path, RGB)

    def test_alpha_is_turned_upright_too(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[274] = 6
        path = save(tmp_path / "a.png", np.dstack([RGB, self.ALPHA]), exif=exif)
        upright = np.rot90(np.where(self.CLEAR[..., None], 255, RGB), -1)
        np.testing.assert_array_equal(read_image(path), np.float32(upright) / np.float32(255))


def test_palette(tmp_path: Path) -> None:
    index = RNG.integers(0, 3, (5, 7), dtype=np.uint8)
    for palette, channels in (([9, 200, 3, 40, 50, 60, 7, 7, 7], 3), ([9, 9, 9, 200, 200, 200, 7, 7, 7], 1)):
        image = Image.fromarray(index, "P")
        image.putpalette(palette)
        expected = np.array(palette, np.uint8).reshape(3, 3)[index][..., :channels]
        for name in ("a.png", "a.bmp", "a.tif"):
            check(save(tmp_path / name, image), expected)
        clear = save(tmp_path / "t.png", image, transparency=1)
        check(clear, np.where((index == 1)[..., None], 255, expected))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "g4.tif"])
def test_1_bit(tmp_path: Path, name: str) -> None:
    array = GREY > 127
    options = {"compression": "group4"} if name == "g4.tif" else {}
    check(save(tmp_path / name, Image.fromarray(array), **options), array * np.uint8(255))


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[:, :, 0] = 255  # pure cyan: no red
    for name in ("a.tif", "a.jpg"):
        found = read_image(save(tmp_path / name, Image.fromarray(cmyk, "CMYK"), quality=95))
        np.testing.assert_allclose(found, np.broadcast_to([0, 1, 1], (16, 16, 3)), atol=0.02)


def test_planar_8_bit_tiff(tmp_path: Path) -> None:
    check(written(tmp_path / "a.tif", tiff(RGB, planar=2)), RGB)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (tiff(RNG.random((5, 7, 3), dtype=np.float32), sample=3), "starts as TIFF"),
        (tiff(GREY.view(np.int8), sample=2), "signed"),
        (tiff(DEEP.astype(np.uint32)), "32-bit integers"),
        (tiff(DEEP_RGB, planar=2), "separate planes"),
        (tiff(np.dstack([DEEP_RGB, DEEP]), photometric=5), "16-bit CMYK"),
        (tiff(RGB, photometric=8), "LAB"),
        (tiff(RGB, photometric=6), "YCbCr"),
        # Pillow raises a ValueError here and not an OSError.
        (tiff(RGB, photometric=6, planar=2), "damaged"),
    ],
)
def test_what_pillow_would_read_wrongly_is_refused(tmp_path: Path, data: bytes, what: str) -> None:
    assert what in sentence(written(tmp_path / "a.tif", data))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("array", "sample"),
    [
        (RNG.normal(3, 2, (5, 7)).astype(np.float32), 3),
        (RNG.integers(-900, 900, (5, 7), dtype=np.int16), 2),
        (RNG.integers(-(2**31), 2**31, (5, 7)).astype(np.int32), 2),
    ],
    ids=["float", "int16", "int32"],
)
def test_numbers_that_need_a_range(tmp_path: Path, order: str, array: np.ndarray, sample: int) -> None:
    path = written(tmp_path / "a.tif", tiff(array, order, sample=sample))
    said = sentence(path)
    assert "--range LOW HIGH" in said
    assert f"from {array.min():.6g} to {array.max():.6g}" in said
    low, high = float(np.quantile(array, 0.2)), float(np.quantile(array, 0.9))
    found = read_image(path, Decoding(range=(low, high)))
    expected = np.clip((array.astype(np.float64) - low) / (high - low), 0, 1)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-6)
    assert found.min() == 0
    assert found.max() == 1
    inverted = written(tmp_path / "b.tif", tiff(array, order, sample=sample, photometric=0))
    if sample == 3:
        again = read_image(inverted, Decoding(range=(low, high)))
        np.testing.assert_allclose(again, 1 - found, atol=1e-6)


def test_floats_between_0_and_1_are_pixels(tmp_path: Path) -> None:
    array = RNG.random((5, 7), dtype=np.float32)
    check(written(tmp_path / "a.tif", tiff(array, sample=3)), array, 1)
    array[2, 3] = np.nan
    for decoding in (STANDARD, Decoding(range=(0, 1))):
        path = written(tmp_path / "nan.tif", tiff(array, sample=3))
        assert "not finite" in sentence(path, lambda file, rule=decoding: read_image(file, rule))


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.webp"])
def test_pages(tmp_path: Path, name: str) -> None:
    arrays = [RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8) for _ in range(3)]
    first, *others = map(Image.fromarray, arrays)
    path = save(tmp_path / name, first, save_all=True, append_images=others, lossless=True)
    said = sentence(path)
    assert "3 pages" in said
    assert "--page 1" in said
    for page in (1, 2, 3):
        found = read_image(path, Decoding(page=page))
        np.testing.assert_array_equal(found, arrays[page - 1].astype(np.float32) / np.float32(255))
    assert "no page 4, only 3" in sentence(path, lambda file: read_image(file, Decoding(page=4)))


def test_deep_pages_of_several_sizes(tmp_path: Path) -> None:
    """What is kept of a page must not be that of the first one."""
    pages = [Image.fromarray(DEEP), Image.fromarray(DEEP.T.copy()), Image.fromarray(GREY)]
    path = save(tmp_path / "a.tif", pages[0], save_all=True, append_images=pages[1:])
    for page, (array, white) in enumerate([(DEEP, 65535), (DEEP.T, 65535), (GREY, 255)], 1):
        found = read_image(path, Decoding(page=page))
        np.testing.assert_array_equal(found[..., 0], array.astype(np.float32) / np.float32(white))


def test_a_page_of_a_file_that_is_one(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "a.tif", "a.webp"):
        path = save(tmp_path / name, RGB, lossless=True)
        np.testing.assert_array_equal(read_image(path, Decoding(page=1)), read_image(path))
    second = Decoding(page=2)
    assert "no page 2, only 1" in sentence(tmp_path / "a.tif", lambda file: read_image(file, second))
    # Other kinds of files have no pages to choose from.
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", second), read_image(tmp_path / "a.png"))


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_ending_that_folders_are_searched_for_is_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, SMOOTH)
    else:
        save(path, SMOOTH, format="JPEG" if suffix in (".jpe", ".jfif") else None, lossless=True, quality=95)
    assert np.abs(read_image(path) - SMOOTH / 255).max() < 0.1


def test_the_main_image_of_an_mpo_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(SMOOTH), Image.new("RGB", (8, 8))
    path = save(tmp_path / "a.jpg", first, format="MPO", save_all=True, append_images=[second], quality=95)
    with Image.open(path) as image:
        assert image.format == "MPO"
    assert np.abs(read_image(path) - SMOOTH / 255).max() < 0.1


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "lzw.tif", "deep.png", "deep.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, name: str, orientation: int) -> None:
    # The upright image has a bright top left corner and a half bright top edge: no symmetry is left.
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, 8:] = 120
    upright[:8, :8] = 240
    undo = {  # what has to be stored for the image to be upright once the orientation is applied
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).T,
        8: np.rot90(upright, -1),
    }
    stored = np.ascontiguousarray(undo.get(orientation, upright)).astype(np.uint16)
    stored = stored * 257 if "deep" in name else stored.astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    options: dict[str, Any] = {"compression": "tiff_lzw"} if name == "lzw.tif" else {}
    found = read_image(save(tmp_path / name, Image.fromarray(stored), exif=exif, **options))
    assert found.shape == (16, 32, 1)
    np.testing.assert_allclose(found[..., 0], upright / 255, atol=0.02)


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_an_orientation_that_is_not_defined_changes_nothing(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    check(save(tmp_path / "a.png", RGB, exif=exif), RGB)


def test_a_damaged_exif_block_does_not_cost_the_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", SMOOTH, exif=b"Exif\0\0nonsense", quality=95)
    assert read_image(path).shape == (40, 56, 3)


ENCODED: dict[str, bytes] = {}
# By which rule a file of ENCODED is read, where it is not the standard one.
RULES = {
    "TIFF-pages": Decoding(page=2),
    "PNG-pages": Decoding(page=2),
    "WEBP-pages": Decoding(page=2),
    "TIFF-float": Decoding(range=(-1, 2)),
    "PNG-deep": Decoding(white_level=4095),
    "NPY-float": Decoding(range=(-1, 2)),
}


def _encode() -> None:
    exif = Image.Exif()
    exif[274] = 6

    def add(name: str, array: np.ndarray, **options: Any) -> None:
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, name.split("-")[0], **options)
        ENCODED[name] = stream.getvalue()

    add("PNG", SMOOTH, exif=exif)
    add("PNG-deep", DEEP)
    add("JPEG", SMOOTH, exif=exif)
    add("JPEG-progressive", SMOOTH, progressive=True)
    add("JPEG-large", RNG.integers(0, 256, (300, 300, 3), dtype=np.uint8))
    add("BMP", SMOOTH)
    add("TIFF", SMOOTH, exif=exif)
    add("TIFF-lzw", SMOOTH, compression="tiff_lzw", exif=exif)
    add("TIFF-jpeg", SMOOTH, compression="jpeg")
    add("TIFF-g4", SMOOTH[..., 0] > 50, compression="group4")
    ENCODED["TIFF-tags-last"] = tiff(GREY, orientation=6)
    add("TIFF-pages", SMOOTH, save_all=True, append_images=[Image.fromarray(DEEP), Image.fromarray(GREY)])
    second = Image.fromarray(255 - SMOOTH)
    add("PNG-pages", SMOOTH, save_all=True, append_images=[second])
    add("WEBP-pages", SMOOTH, save_all=True, append_images=[second], lossless=True)
    ENCODED["TIFF-packed"] = tiff(SMOOTH[..., 0].astype(np.uint16), data=bytes(range(240)) * 14, bits=12)
    ENCODED["TIFF-float"] = tiff(RNG.random((5, 7), dtype=np.float32), sample=3)
    ENCODED["TIFF-deep-colour"] = tiff(DEEP_RGB)
    ENCODED["TIFF-deep-deflate"] = tiff(np.dstack([DEEP_RGB, DEEP]), ">", compression=8)
    ENCODED["PNG-deep-colour"] = png(np.dstack([DEEP_RGB, DEEP]), 6)
    ENCODED["PNG-deep-grey-alpha"] = png(np.dstack([DEEP, DEEP]), 4)
    add("PNG-alpha", np.dstack([SMOOTH, SMOOTH[..., 0]]))
    add("PNG-declared", SMOOTH, transparency=(10, 20, 5))
    add("WEBP", SMOOTH, exif=exif)
    add("WEBP-alpha", np.dstack([SMOOTH, SMOOTH[..., 0]]), lossless=True)
    for name, array in (
        ("NPY", SMOOTH),
        ("NPY-deep", np.asfortranarray(DEEP)),
        ("NPY-float", RNG.random((5, 7)).astype(">f8")),
    ):
        stream = io.BytesIO()
        np.save(stream, array)
        ENCODED[name] = stream.getvalue()


_encode()


def read_encoded(path: Path, name: str) -> np.ndarray:
    return read_image(path, RULES.get(name, STANDARD))


@pytest.mark.parametrize("name", ENCODED)
def test_truncated_at_any_length(tmp_path: Path, name: str) -> None:
    data = ENCODED[name]
    whole = read_encoded(written(tmp_path / "whole", data), name)
    # Every length near both ends, where headers and tables lie, and some in between.
    cuts = {*range(0, len(data), max(1, len(data) // 60)), *range(min(40, len(data)))}
    cuts |= set(range(max(0, len(data) - 170), len(data)))
    refused = 0
    for cut in sorted(cuts):
        path = written(tmp_path / "cut", data[:cut])
        try:
            found = read_encoded(path, name)
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, whole, err_msg=f"cut at {cut} of {len(data)}")
    assert refused >= 0.7 * len(cuts)


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    name=st.sampled_from([name for name in ENCODED if name != "JPEG-large"]),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_damaged_bytes_give_a_image_or_an_image_error(
    tmp_path: Path, name: str, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(ENCODED[name])
    for place, value in changes:
        # Half of the changes go to the first bytes, where they do the most harm.
        data[place % (len(data) if place % 2 else min(200, len(data)))] = value
    path = written(tmp_path / "a", bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = read_encoded(path, name)
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017
            return
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_text_file_and_an_unknown_format(tmp_path: Path) -> None:
    assert "not a PNG, JPEG, BMP, TIFF, WebP or .npy" in sentence(
        written(tmp_path / "a.png", b"hello, world\n" * 50)
    )
    assert "not a PNG, JPEG, BMP, TIFF, WebP or .npy" in sentence(
        save(tmp_path / "b.png", GREY, format="GIF")
    )
    assert "starts as PNG" in sentence(written(tmp_path / "c.png", b"\x89PNG and no more"))


def test_missing_folder_empty_pipe_and_odd_names(tmp_path: Path) -> None:
    assert "does not exist" in sentence(tmp_path / "none.png")
    assert "is a folder" in sentence(tmp_path)
    assert "0 bytes" in sentence(written(tmp_path / "empty.png", b""))
    os.mkfifo(tmp_path / "pipe.png")
    assert "not a regular file" in sentence(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path / ("x" * 300 + ".png"))


def _claims(width: int, height: int) -> dict[str, bytes]:
    data = bytearray(png(DEEP, 0))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "BMP")
    bmp = bytearray(stream.getvalue())
    bmp[18:26] = struct.pack("<ii", width, height)
    stream = io.BytesIO()
    Image.fromarray(GREY).save(stream, "JPEG")
    jpeg = bytearray(stream.getvalue())
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", height, width)
    big = tiff(GREY)
    for tag, value in ((256, width), (257, height)):
        old = struct.pack("<HHIHH", tag, 3, 1, {256: 7, 257: 5}[tag], 0)
        assert old in big
        big = big.replace(old, struct.pack("<HHIHH", tag, 3, 1, value, 0))
    stream = io.BytesIO()
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    webp = bytearray(stream.getvalue())
    at = webp.index(b"VP8X") + 12
    webp[at : at + 6] = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    stream = io.BytesIO()
    np.save(stream, GREY)
    npy = stream.getvalue().replace(b"(5, 7)", b"(%d, %d)" % (height, width))
    return {
        "png": bytes(data),
        "bmp": bytes(bmp),
        "jpg": bytes(jpeg),
        "tif": big,
        "webp": bytes(webp),
        "npy": npy,
    }


@pytest.mark.parametrize("kind", ["png", "bmp", "jpg", "tif", "webp", "npy"])
@pytest.mark.parametrize("size", [(60_000, 60_000), (14_000, 12_600)], ids=["bomb", "just above the limit"])
def test_a_image_that_claims_to_be_huge(
    tmp_path: Path, kind: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert size[0] * size[1] > MAX_PIXELS

    def allocates(*_: Any) -> None:
        raise AssertionError("the pixels were allocated")

    path = written(tmp_path / f"a.{kind}", _claims(*size)[kind])
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load_prepare", allocates)
    assert "175 million pixels" in sentence(path)


def test_the_claimed_size_is_what_is_refused(tmp_path: Path) -> None:
    # The same header rewriting with a size that is allowed gets as far as the pixels. Of a JPEG that has its
    # end mark libjpeg fills what is missing with grey and Pillow does not tell.
    claims = _claims(70, 50)
    assert read_image(written(tmp_path / "a.jpg", claims.pop("jpg"))).shape == (50, 70, 1)
    # A WebP animation may have frames that are smaller than itself.
    first = Decoding(page=1)
    assert read_image(written(tmp_path / "a.webp", claims.pop("webp")), first).shape == (50, 70, 3)
    for kind, data in claims.items():
        assert "truncated" in sentence(written(tmp_path / f"a.{kind}", data))


def test_no_warning_for_a_large_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow warns above its limit and refuses above twice that; 35 pixels lie between.
    path = save(tmp_path / "a.png", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(path).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(path, GREY)


def test_too_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(decoders, "_decode", fail)
    assert "more memory" in sentence(save(tmp_path / "a.png", GREY))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "more than 2 GiB" in sentence(tmp_path / "a.png")


def test_read_and_disk_errors_keep_their_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert "Input/output error" in sentence(save(tmp_path / "a.png", GREY))


class TestMask:
    MARKED = np.zeros((5, 7), np.uint8)
    MARKED[1, 2:4] = 1
    MARKED[4, 6] = 2

    def test_any_value_but_zero_is_a_defect(self, tmp_path: Path) -> None:
        blue = np.zeros((5, 7, 3), np.uint8)
        blue[..., 2] = self.MARKED
        palette = Image.fromarray(np.minimum(self.MARKED, 1), "P")
        palette.putpalette([0, 0, 0, 0, 128, 0])
        opaque = np.dstack([blue, np.full_like(self.MARKED, 255)])
        for array in (
            self.MARKED,
            100 * self.MARKED,
            self.MARKED > 0,
            self.MARKED.astype(np.uint16),
            blue,
            palette,
            opaque,
        ):
            found = read_mask(save(tmp_path / "m.png", array), (5, 7))
            assert found.dtype == np.bool_
            np.testing.assert_array_equal(found, self.MARKED > 0)

    def test_an_empty_mask_is_allowed(self, tmp_path: Path) -> None:
        assert not read_mask(save(tmp_path / "m.png", self.MARKED * 0), (5, 7)).any()

    def test_another_size_is_refused(self, tmp_path: Path) -> None:
        path = save(tmp_path / "m.png", self.MARKED)
        text = sentence(path, lambda file: read_mask(file, (7, 5)))
        assert "mask of 7 x 5 pixels for an image of 5 x 7" in text

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_transparency_is_refused(self, tmp_path: Path, mode: str) -> None:
        image = Image.fromarray(self.MARKED).convert(mode)
        image.putalpha(Image.fromarray(self.MARKED))
        text = sentence(save(tmp_path / "m.png", image), lambda file: read_mask(file, (5, 7)))
        assert "transparent" in text

    def test_palette_transparency_is_refused_only_where_it_is_used(self, tmp_path: Path) -> None:
        image = Image.fromarray(np.minimum(self.MARKED, 1), "P")
        image.putpalette([0, 0, 0, 9, 9, 9, 7, 7, 7])
        used = save(tmp_path / "used.png", image, transparency=0)
        assert "transparent" in sentence(used, lambda file: read_mask(file, (5, 7)))
        unused = save(tmp_path / "unused.png", image, transparency=2)
        np.testing.assert_array_equal(read_mask(unused, (5, 7)), self.MARKED > 0)

    def test_one_of_65535_is_a_defect(self, tmp_path: Path) -> None:
        deep = written(tmp_path / "d.png", png(np.dstack([self.MARKED] * 3).astype(np.uint16), 2))
        np.testing.assert_array_equal(read_mask(deep, (5, 7)), self.MARKED > 0)
        inverted = tiff(65535 - self.MARKED.astype(np.uint16), photometric=0)
        found = read_mask(written(tmp_path / "i.tif", inverted), (5, 7))
        np.testing.assert_array_equal(found, self.MARKED > 0)

    def test_arrays_of_any_numbers(self, tmp_path: Path) -> None:
        for kind in (bool, np.uint8, np.uint16, np.int64, np.float32):
            np.save(tmp_path / "m.npy", (self.MARKED > 0).astype(kind))
            np.testing.assert_array_equal(read_mask(tmp_path / "m.npy", (5, 7)), self.MARKED > 0)

    def test_bad_files_are_refused_as_images_are(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.png", tmp_path, written(tmp_path / "m.png", b"text")):
            sentence(path, lambda file: read_mask(file, (5, 7)))
