"""How many bits a camera used, found from a set of images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from patchebm.images.depth import Depth, measure_depth
from patchebm.images.samples import Samples, array_samples

RNG = np.random.default_rng(0)


def scene(bits: int, share: float = 1.0, images: int = 4) -> list[np.ndarray]:
    """Returns noisy images of so many bits; the brightest value is this share of white."""
    top = round(share * (2**bits - 1))
    found = [RNG.integers(0, top + 1, (20, 30), dtype=np.uint16) for _ in range(images)]
    found[-1][3, 4] = top
    return found


def white_of(images: list[np.ndarray]) -> int:
    depth = measure_depth(map(array_samples, images))
    assert depth is not None
    return depth.white_level


@pytest.mark.parametrize("bits", [8, 10, 12, 13, 14, 16])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_the_brightest_value_decides(bits: int, share: float) -> None:
    assert white_of(scene(bits, share)) == 2**bits - 1


def test_one_bright_image_of_many_is_enough() -> None:
    dark = [image // 20 for image in scene(12, images=8)]
    assert white_of(dark) == 2**8 - 1
    assert white_of([*dark, *scene(12, images=1)]) == 2**12 - 1


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_bits_at_the_upper_end(bits: int, share: float) -> None:
    """White is where the camera's own white lies, so that both layouts give the same pixels."""
    images = scene(bits, share)
    white = white_of([image << (16 - bits) for image in images])
    assert white == (2**bits - 1) << (16 - bits)
    low, high = np.float32(2**bits - 1), np.float32(white)
    np.testing.assert_array_equal(
        images[0].astype(np.float32) / low, (images[0] << (16 - bits)).astype(np.float32) / high
    )


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_8_bit_data_that_was_multiplied(bits: int) -> None:
    """Its low bits are zero, too, and it does not lie at the upper end."""
    assert white_of([image << (bits - 8) for image in scene(8)]) == 2**bits - 1
    assert white_of([np.rint(image * ((2**bits - 1) / 255)).astype(np.uint16) for image in scene(8)]) == (
        2**bits - 1
    )


def test_8_bit_data_over_all_16_bits() -> None:
    assert white_of([image * 257 for image in scene(8)]) == 65535
    assert white_of([image * 256 for image in scene(8)]) == 65280


def test_images_without_16_bits_do_not_count() -> None:
    shallow = [image.astype(np.uint8) for image in scene(8)]
    assert measure_depth(map(array_samples, shallow)) is None
    assert white_of([*shallow, *scene(12), *shallow]) == 4095
    packed = Samples(scene(12)[0][..., None], 4095)
    assert measure_depth([packed]) is None


def test_black_images_tell_nothing() -> None:
    depth = measure_depth([array_samples(np.zeros((4, 4), np.uint16))])
    assert depth == Depth(0, 0)
    assert depth.white_level == 65535
    assert "black all over" in depth.describe()


def test_no_more_images_are_read_than_decide() -> None:
    read = 0

    def images() -> Iterator[Samples]:
        nonlocal read
        for image in scene(16, images=9):
            read += 1
            yield array_samples(image)

    assert measure_depth(images()) is not None
    assert read == 1


def test_the_sentences() -> None:
    assert Depth(4031, 0).describe() == (
        "the brightest value of the 16-bit images is 4031: they are read as 12-bit data, in which white is "
        "4095"
    )
    assert "12-bit data in their upper bits, so that white is 65520" in Depth(65520, 4).describe()
