"""Pixel formats of GenICam, by numbers that were packed by hand, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

from patchebm.errors import ConfigError
from patchebm.station.sources.pixel_formats import frame_of, require_known


def bits_of(values: list[int], bits: int) -> bytes:
    """Numbers as one string of bits, the lowest first, as PFNC says for formats that end with p."""
    text = "".join(format(value, f"0{bits}b")[::-1] for value in values)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))


@pytest.mark.parametrize("bits", [10, 12])
@pytest.mark.parametrize("size", [(4, 3), (3, 5)])
def test_ten_and_twelve_bits_keep_their_numbers(bits: int, size: tuple[int, int]) -> None:
    width, height = size
    values = np.random.default_rng(0).integers(0, 2**bits, (height, width)).astype(np.uint16)
    flat = [int(value) for value in values.ravel()]
    low = bits - 8
    packed = b""
    for i in range(0, len(flat), 2):
        first, second = flat[i], [*flat, 0][i + 1]
        # High bits of both, and the low ones of both between: GigE Vision's own packing.
        between = first & (2**low - 1) | (second & (2**low - 1)) << 4
        packed += bytes([first >> low, between, second >> low])
    for name, content in (
        (f"Mono{bits}", values.astype("<u2").tobytes()),
        (f"Mono{bits}p", bits_of(flat, bits)),
        (f"Mono{bits}Packed", packed),
    ):
        require_known(name)
        frame = frame_of(content, name, width, height)
        assert frame.pixels.dtype == np.uint16
        assert np.array_equal(frame.pixels, values), name
        assert frame.white == 2**bits - 1


@pytest.mark.parametrize(("name", "at"), [("RG", (0, 0)), ("GR", (0, 1)), ("GB", (1, 0)), ("BG", (1, 1))])
@pytest.mark.parametrize("bits", [8, 12])
def test_the_red_of_a_bayer_pattern_is_red(name: str, at: tuple[int, int], bits: int) -> None:
    pytest.importorskip("cv2", reason="opencv-python-headless not installed (extra camera)")
    white = 2**bits - 1
    mosaic = np.zeros((8, 8), np.uint8 if bits == 8 else np.uint16)
    mosaic[at[0] :: 2, at[1] :: 2] = white
    require_known(f"Bayer{name}{bits}")
    frame = frame_of(mosaic.tobytes(), f"Bayer{name}{bits}", 8, 8)
    assert frame.white == white
    middle = frame.pixels[2:6, 2:6].astype(int)
    assert (middle[:, :, 0] == white).all()
    assert (middle[:, :, 1:] == 0).all()


def test_colours_come_red_first() -> None:
    red = bytes([200, 10, 20])
    assert frame_of(red, "RGB8", 1, 1).pixels.tolist() == [[[200, 10, 20]]]
    assert frame_of(red[::-1], "BGR8", 1, 1).pixels.tolist() == [[[200, 10, 20]]]


@pytest.mark.parametrize("name", ["YUV422_8", "Mono16p", "Mono7", "mono8"])
def test_other_formats_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        require_known(name)


def test_a_buffer_that_is_too_short_is_an_error() -> None:
    with pytest.raises(ValueError):
        frame_of(b"123", "Mono8", 2, 2)
