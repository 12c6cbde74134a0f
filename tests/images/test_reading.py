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
from patchebm.images import decoding
from patchebm.images.decoding import MAX_BYTES, MAX_PIXELS
from patchebm.images.reading import IMAGE_SUFFIXES, read_image, read_mask

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
DEEP_RGB = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
SMOOTH = (np.add.outer(np.arange(40), np.arange(56))[..., None] * (1, 2, 0.5)).astype(np.uint8)


def save(path: Path, array: Any, mode: str | None = None, **options: Any) -> Path:
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def sentence(path: Path, read: Any = read_image) -> str:
    """The error's text, checked to be one sentence that names the file."""
    with pytest.raises(ImageError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    assert "; " in text, "the fix is missing"
    return text


def png(array: np.ndarray, colour: int, **chunks: bytes) -> bytes:
    """A PNG with 16 bits a channel, which Pillow cannot write in colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    head = struct.pack(">IIBBBBB", array.shape[1], array.shape[0], 16, colour, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(rows))
    ) + chunk(b"IEND", b"")


def tiff(array: np.ndarray, order: str = "<", data: bytes | None = None, **tags: int) -> bytes:
    """An uncompressed TIFF with its tags behind the pixels, for layouts that Pillow cannot write."""
    height, width = array.shape[:2]
    channels = array.shape[2] if array.ndim == 3 else 1
    if data is None:
        planes = np.moveaxis(array, 2, 0) if tags.get("planar") == 2 else array
        data = planes.astype(array.dtype.newbyteorder(order)).tobytes()  # type: ignore[call-overload]
    bits = tags.get("bits", array.dtype.itemsize * 8)
    strips = channels if tags.get("planar") == 2 else 1
    step = len(data) // strips
    entries: list[tuple[int, str, list[int]]] = [
        (256, "H", [width]),
        (257, "H", [height]),
        (258, "H", [bits] * channels),
        (259, "H", [1]),
        (262, "H", [tags.get("photometric", 1 if channels == 1 else 2)]),
        (273, "I", [8 + step * k for k in range(strips)]),
        (274, "H", [tags.get("orientation", 1)]),
        (277, "H", [channels]),
        (278, "H", [height]),
        (279, "I", [step] * strips),
        (284, "H", [tags.get("planar", 1)]),
        (339, "H", [tags.get("sample", 1)] * channels),
    ]
    start = 8 + len(data) + len(data) % 2
    end, body, tail = start + 2 + 12 * len(entries) + 4, b"", b""
    for tag, code, values in entries:
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        body += struct.pack(order + "HHI", tag, {"H": 3, "I": 4}[code], len(values))
        body += struct.pack(order + "I", end + len(tail)) if len(packed) > 4 else packed.ljust(4, b"\0")
        tail += packed if len(packed) > 4 else b""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    ifd = struct.pack(order + "H", len(entries)) + body + b"\0\0\0\0" + tail
    return head + data + b"\0" * (len(data) % 2) + ifd


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def check(path: Path, expected: np.ndarray, white: int = 255) -> None:
    found = read_image(path)
    expected = expected if expected.ndim == 3 else expected[..., None]
    assert found.dtype == np.float32
    assert found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, expected.astype(np.float32) / np.float32(white))


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.TIFF", "a.PNG"])
@pytest.mark.parametrize("array", [GREY, RGB], ids=["grey", "rgb"])
def test_8_bits_are_read_without_loss(tmp_path: Path, name: str, array: np.ndarray) -> None:
    assert Path(name).suffix.lower() in IMAGE_SUFFIXES
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


def test_16_bit_colour_keeps_the_upper_byte(tmp_path: Path) -> None:
    upper = DEEP_RGB >> 8
    check(written(tmp_path / "a.png", png(DEEP_RGB, 2)), upper)
    for order in "<>":
        check(written(tmp_path / "a.tif", tiff(DEEP_RGB, order)), upper)
    alpha = np.dstack([DEEP_RGB, DEEP])
    check(written(tmp_path / "rgba.png", png(alpha, 6)), upper)
    check(written(tmp_path / "la.png", png(np.dstack([DEEP, DEEP.T.reshape(5, 7)]), 4)), DEEP >> 8)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_16_bit_colour_with_too_little_left_is_refused(tmp_path: Path, kind: str) -> None:
    def store(array: np.ndarray) -> Path:
        return written(tmp_path / f"a.{kind}", png(array, 2) if kind == "png" else tiff(array))

    dark = DEEP_RGB % 4096
    assert "1/16 of its range" in sentence(store(dark))
    dark[0, 0, 0] = 4096
    check(store(dark), dark >> 8)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    alpha = GREY.copy()
    alpha[0] = 0
    for name in ("a.png", "a.tif"):
        check(save(tmp_path / name, np.dstack([RGB, alpha])), RGB)
        check(save(tmp_path / name, np.dstack([GREY, alpha])), GREY)


def test_palette(tmp_path: Path) -> None:
    index = RNG.integers(0, 3, (5, 7), dtype=np.uint8)
    for palette, channels in (([9, 200, 3, 40, 50, 60, 7, 7, 7], 3), ([9, 9, 9, 200, 200, 200, 7, 7, 7], 1)):
        image = Image.fromarray(index, "P")
        image.putpalette(palette)
        expected = np.array(palette, np.uint8).reshape(3, 3)[index][..., :channels]
        for name in ("a.png", "a.bmp", "a.tif"):
            check(save(tmp_path / name, image), expected)
        check(save(tmp_path / "t.png", image, transparency=1), expected)


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
        (tiff(RNG.random((5, 7), dtype=np.float32), sample=3), "floating-point"),
        (tiff(RNG.integers(-9, 9, (5, 7), dtype=np.int16), sample=2), "signed"),
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


def test_pages(tmp_path: Path) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(GREY.T.copy())]
    assert "2 pages" in sentence(save(tmp_path / "a.tif", pages[0], save_all=True, append_images=pages[1:]))
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    assert "2 pages" in sentence(save(tmp_path / "a.png", frames[0], save_all=True, append_images=frames[1:]))


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


_encode()


@pytest.mark.parametrize("name", ENCODED)
def test_truncated_at_any_length(tmp_path: Path, name: str) -> None:
    data = ENCODED[name]
    whole = read_image(written(tmp_path / "whole", data))
    # Every length near both ends, where headers and tables lie, and some in between.
    cuts = {*range(0, len(data), max(1, len(data) // 60)), *range(min(40, len(data)))}
    cuts |= set(range(max(0, len(data) - 170), len(data)))
    refused = 0
    for cut in sorted(cuts):
        path = written(tmp_path / "cut", data[:cut])
        try:
            found = read_image(path)
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, whole, err_msg=f"cut at {cut} of {len(data)}")
    assert refused >= 0.7 * len(cuts)


@settings(
    max_examples=150,
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
            found = read_image(path)
        except ImageError:
            return
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_text_file_and_an_unknown_format(tmp_path: Path) -> None:
    assert "not a PNG, JPEG, BMP or TIFF" in sentence(written(tmp_path / "a.png", b"hello, world\n" * 50))
    assert "not a PNG, JPEG, BMP or TIFF" in sentence(save(tmp_path / "b.png", GREY, format="GIF"))
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
    return {"png": bytes(data), "bmp": bytes(bmp), "jpg": bytes(jpeg), "tif": big}


@pytest.mark.parametrize("kind", ["png", "bmp", "jpg", "tif"])
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

    monkeypatch.setattr(decoding, "_decode", fail)
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
    MARKED[4, 6] = 255

    def test_any_value_but_zero_is_a_defect(self, tmp_path: Path) -> None:
        blue = np.zeros((5, 7, 3), np.uint8)
        blue[..., 2] = self.MARKED
        palette = Image.fromarray(np.minimum(self.MARKED, 1), "P")
        palette.putpalette([0, 0, 0, 0, 128, 0])
        opaque = np.dstack([blue, np.full_like(self.MARKED, 255)])
        for array in (self.MARKED, self.MARKED > 0, self.MARKED.astype(np.uint16), blue, palette, opaque):
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

    def test_jpeg_and_16_bit_colour_are_refused(self, tmp_path: Path) -> None:
        jpeg = save(tmp_path / "m.png", self.MARKED, format="JPEG")
        assert "JPEG" in sentence(jpeg, lambda file: read_mask(file, (5, 7)))
        # One is lost in the lower byte: Pillow would find no defect here.
        deep = written(tmp_path / "d.png", png(np.dstack([self.MARKED] * 3).astype(np.uint16), 2))
        assert "16-bit colour" in sentence(deep, lambda file: read_mask(file, (5, 7)))

    def test_bad_files_are_refused_as_images_are(self, tmp_path: Path) -> None:
        for path in (tmp_path / "none.png", tmp_path, written(tmp_path / "m.png", b"text")):
            sentence(path, lambda file: read_mask(file, (5, 7)))
