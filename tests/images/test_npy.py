"""Arrays that numpy saved are read, and never more than that."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchebm.errors import ImageError
from patchebm.images.decoding import Decoding
from patchebm.images.reading import decode_image, read_image

RNG = np.random.default_rng(0)


def saved(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("kind", "white"), [("u1", 255), ("<u2", 65535), (">u2", 65535), ("<f4", 1), (">f8", 1), ("f2", 1)]
)
def test_arrays_are_what_numpy_saved(shape: tuple[int, ...], order: Any, kind: str, white: int) -> None:
    array = (RNG.random(shape) * white).astype(kind, order=order)
    found = decode_image(saved(array), "a.npy")
    assert found.shape == (*shape[:2], 3 if shape[2:] == (3,) else 1)
    assert found.dtype == np.float32
    assert found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found.reshape(shape), array.astype(np.float32) / np.float32(white))


def test_the_white_level_and_the_range_count() -> None:
    deep = RNG.integers(0, 4096, (5, 7), dtype=np.uint16)
    found = decode_image(saved(deep), "a.npy", Decoding(white_level=4095))
    np.testing.assert_array_equal(found[..., 0], deep.astype(np.float32) / np.float32(4095))
    heights = RNG.normal(0, 3, (5, 7))
    found = decode_image(saved(heights), "a.npy", Decoding(range=(-4, 4)))
    np.testing.assert_allclose(found[..., 0], np.clip((heights + 4) / 8, 0, 1), atol=1e-6)
    with pytest.raises(ImageError, match=r"floating-point numbers, from -\d.* --range LOW HIGH"):
        decode_image(saved(heights), "a.npy")
    with pytest.raises(ImageError, match=r"int64 numbers, from 0 to 34, .* --range LOW HIGH"):
        decode_image(saved(np.arange(35).reshape(5, 7)), "a.npy")


class Trap:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("the file was unpickled",))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (saved(np.array([[Trap()]], dtype=object), allow_pickle=True), "object, not plain numbers"),
        (b"\x93NUMPY" + pickle.dumps(Trap()), "cannot|no .npy file that can be read"),
        (saved(np.zeros((4, 4), "S3")), "not plain numbers"),
        (saved(np.zeros((4, 4), complex)), "complex128, not plain numbers"),
        (saved(np.zeros((4, 4), [("x", "f4")])), "records, not plain numbers"),
        (saved(np.zeros((4, 4), "M8[s]")), "not plain numbers"),
        (saved(np.zeros(4)), r"shape \(4,\)"),
        (saved(np.zeros(())), r"shape \(\)"),
        (saved(np.zeros((3, 4, 4))), r"shape \(3, 4, 4\); save \(height, width\) or"),
        (saved(np.zeros((0, 4))), r"shape \(0, 4\)"),
        (saved(np.zeros((4, 4)))[:-1], "truncated or damaged"),
        (saved(np.zeros((4, 4))) + b"x", "truncated or damaged"),
        (saved(np.zeros((4, 4))).replace(b"(4, 4)", b"(-4,-4)"), r"shape \(-4, -4\)"),
        (saved(np.zeros((4, 4))).replace(b"(4, 4)", b"(4, 10**9)"), "no .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"[" * 65535, "no .npy file"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "no .npy file"),
        (b"\x93NUMPY\x09\x00v\x00", "no .npy file"),
        (b"\x93NUMPY", "no .npy file"),
    ],
)
def test_what_is_no_image_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=said) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "; " in str(caught.value)
    assert "\n" not in str(caught.value)


HEADERS = st.builds(
    "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}".format,
    st.sampled_from(["'<u2'", "'|u1'", "'<f8'", "'|O'", "'<U9'", "[('a', '<u2')]", "'<i8'", "7", "'?'"]),
    st.sampled_from(["True", "False", "None"]),
    st.one_of(st.tuples(*[st.integers(-1, 10**12)] * 2), st.lists(st.integers(0, 9), max_size=5).map(tuple)),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.one_of(HEADERS, st.text(max_size=80)), st.binary(max_size=200), st.sampled_from([1, 2, 3]))
def test_any_header_gives_an_image_or_a_sentence(header: str, body: bytes, version: int) -> None:
    text = header.encode()
    size = len(text).to_bytes(2 if version == 1 else 4, "little")
    try:
        found = decode_image(b"\x93NUMPY" + bytes([version, 0]) + size + text + body, "a.npy")
    except ImageError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert found.dtype == np.float32
        assert found.ndim == 3
