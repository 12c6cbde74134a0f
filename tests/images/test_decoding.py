"""The rule by which numbers of files become pixels, and what does not fit it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from patchebm.errors import ConfigError
from patchebm.images.decoding import STANDARD, UNKNOWN_DEPTH, Decoding, colour_of
from patchebm.images.samples import Samples, array_samples

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 4096, (5, 7, 1), dtype=np.uint16)
DEEP[0, 0] = 4095
LEVEL_12 = Decoding(white_level=4095)


def test_16_bit_numbers_are_divided_by_the_white_level() -> None:
    samples = array_samples(DEEP)
    for decoding, white in ((LEVEL_12, 4095), (STANDARD, 65535), (Decoding(white_level=65520), 65520)):
        found = decoding.pixels(samples, "a")
        np.testing.assert_array_equal(found, DEEP.astype(np.float32) / np.float32(white))


def test_what_is_brighter_is_white() -> None:
    found = LEVEL_12.pixels(array_samples(DEEP * 2), "a")
    np.testing.assert_array_equal(found, np.minimum(DEEP * 2 / 4095, 1).astype(np.float32))


def test_8_bits_and_12_packed_bits_have_a_white_of_their_own() -> None:
    small = DEEP.astype(np.uint8)
    np.testing.assert_array_equal(
        LEVEL_12.pixels(array_samples(small), "a"), np.float32(small) / np.float32(255)
    )
    packed = Decoding(white_level=1023).pixels(Samples(DEEP, 4095), "a")
    np.testing.assert_array_equal(packed, DEEP.astype(np.float32) / np.float32(4095))


def test_inverted_numbers_count_from_white() -> None:
    found = LEVEL_12.pixels(Samples(DEEP, 65535, inverted=True), "a")
    np.testing.assert_allclose(found, 1 - DEEP / 4095, atol=1e-6)


@pytest.mark.parametrize(
    ("decoding", "values", "kind", "words"),
    [
        (LEVEL_12, DEEP, None, ""),
        (LEVEL_12, DEEP + 1, "bright", "values up to 4096, above 4095"),
        (LEVEL_12, DEEP * 16, "bright", "train with --bits 16"),
        (
            LEVEL_12,
            DEEP.astype(np.uint8),
            "shallow",
            "has 8 bits per channel, and others come in 16-bit files",
        ),
        (LEVEL_12, DEEP // 16, "dark", "no value above 255, and is read as nearly black, with white at 4095"),
        (LEVEL_12, DEEP // 15, None, ""),
        (Decoding(white_level=65535), DEEP, "dark", "no value above 4095"),
        (Decoding(white_level=65535), DEEP.astype(np.uint8), None, ""),
        (Decoding(white_level=255), DEEP.astype(np.uint8), None, ""),
        (STANDARD, DEEP, UNKNOWN_DEPTH, "no training image had: it is read with white at 65535"),
        (STANDARD, DEEP.astype(np.uint8), None, ""),
        (STANDARD, DEEP / 4095, None, ""),
        (Decoding(range=(0, 1)), DEEP / 4095, None, ""),
        (Decoding(range=(0, 0.5)), DEEP / 4095, "range", "numbers from 0 to 1, beyond the range of 0 to 0.5"),
    ],
)
def test_what_does_not_fit_is_said(
    decoding: Decoding, values: np.ndarray, kind: str | None, words: str
) -> None:
    if kind == "range":
        values = values.copy()
        values[1, 1] = 0
    misfit = decoding.misfit(array_samples(values), "part.png")
    assert (misfit and misfit.kind) == kind
    if misfit is not None:
        assert misfit.sentence.startswith("part.png ")
        assert words in misfit.sentence


@pytest.mark.parametrize(
    "decoding",
    [
        STANDARD,
        LEVEL_12,
        Decoding(65520, 3, None, (-1.5, 2)),
        Decoding(None, None, (1, 2, 3), None),
    ],
)
def test_json_keeps_it(decoding: Decoding) -> None:
    assert Decoding.from_dict(json.loads(json.dumps(decoding.to_dict()))) == decoding


def test_models_without_one_are_read_as_they_were() -> None:
    assert Decoding.from_dict(None) == Decoding(white_level=65535, background=None)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"white_level": 0}, ConfigError),
        ({"white_level": 70000}, ConfigError),
        ({"white_level": "x"}, ValueError),
        ({"page": 0}, ConfigError),
        ({"background": [1, 2]}, ValueError),
        ({"background": [1, 2, 300]}, ValueError),
        ({"range": [2, 1]}, ConfigError),
        ({"range": [0, float("nan")]}, ConfigError),
        ({"range": 3}, TypeError),
    ],
)
def test_facts_that_are_no_rule(change: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        Decoding.from_dict(STANDARD.to_dict() | change)


def test_a_rule_lacks_nothing() -> None:
    with pytest.raises(KeyError):
        Decoding.from_dict({})


def test_colours() -> None:
    assert colour_of("white") == (255, 255, 255)
    assert colour_of("#ff8000") == (255, 128, 0)
    assert colour_of("#ff800080") == (255, 128, 0)
    assert colour_of("keep") is None
    with pytest.raises(ConfigError, match="'whiteish' is no colour; give a name"):
        colour_of("whiteish")
