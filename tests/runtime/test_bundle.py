"""Reading bundles: what is damaged, altered or dangerous is refused in a sentence."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchebm.errors import ModelFileError, PatchebmError
from patchebm.runtime.bundle import MANIFEST, Bundle, parse_bundle, read_bundle, write_bundle
from patchebm.runtime.bundle_predictor import BundlePredictor, load_bundle

CARD = {"graph": {"format": "onnx", "size": [64, 64]}, "levels": ["patch"]}


@pytest.fixture
def small(tmp_path: Path) -> bytes:
    """A sound bundle whose graph is none."""
    file = tmp_path / "small.patchebm"
    write_bundle(file, CARD, {"graph.onnx": b"no graph"})
    return file.read_bytes()


def rezipped(
    content: bytes, change: object = None, compress: int = zipfile.ZIP_STORED, **extra: bytes
) -> bytes:
    """The members of a bundle, changed, in a zip of their own."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members |= extra
    if callable(change):
        change(members)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return buffer.getvalue()


def manifest(**changes: object):
    def change(members: dict[str, bytes]) -> None:
        members[MANIFEST] = json.dumps(json.loads(members[MANIFEST]) | changes).encode()

    return change


def test_what_is_written_is_read_and_the_same_content_gives_the_same_bytes(
    small: bytes, tmp_path: Path
) -> None:
    bundle = parse_bundle(small, "x")
    assert bundle.card == CARD
    assert bundle.members == {"graph.onnx": b"no graph"}
    write_bundle(tmp_path / "again", bundle.card, bundle.members)
    assert (tmp_path / "again").read_bytes() == small


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b[: len(b) // 2], "truncated, damaged or no bundle"),
        (lambda b: b"", "truncated, damaged or no bundle"),
        (lambda b: b"not a zip at all", "truncated, damaged or no bundle"),
        (lambda b: b.replace(b"no graph", b"my graph"), "truncated, damaged"),
        (
            lambda b: rezipped(b, **{"graph.onnx": b"my graph"}),
            "was altered .graph.onnx does not have the SHA-256",
        ),
        (lambda b: rezipped(b, **{"../../evil": b""}), "member '../../evil', which no bundle has"),
        (lambda b: rezipped(b, **{"/etc/passwd": b""}), "which no bundle has"),
        (lambda b: rezipped(b, compress=zipfile.ZIP_DEFLATED), "compressed or encrypted"),
        (lambda b: rezipped(b, lambda m: m.pop(MANIFEST)), "has no manifest.json"),
        (lambda b: rezipped(b, lambda m: m.pop("graph.onnx")), "does not list the members"),
        (lambda b: rezipped(b, lambda m: m.pop("card.json")), "does not list the members"),
        (
            lambda b: rezipped(b, manifest(format_version=1)),
            "bundle format 1, .* reads format 2 alone; export",
        ),
        (lambda b: rezipped(b, manifest(format="zip")), "is no patchebm bundle"),
        (lambda b: rezipped(b, manifest(sha256=None)), "does not list the members"),
        (lambda b: rezipped(b, **{MANIFEST: b"[]"}), "manifest.json is no JSON object"),
        (lambda b: rezipped(b, **{MANIFEST: b"[" * 100_000}), "manifest.json cannot be read"),
    ],
)
def test_what_is_no_sound_bundle_is_refused(small: bytes, change: object, said: str) -> None:
    with pytest.raises(ModelFileError, match=said):
        parse_bundle(change(small), "part.patchebm")  # type: ignore[operator]


def test_members_that_the_card_does_not_name_are_refused(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a", {"graph": {"format": "openvino"}}, {"graph.onnx": b""})
    with pytest.raises(ModelFileError, match=r"must hold graph\.xml and graph\.bin"):
        read_bundle(tmp_path / "a")
    write_bundle(tmp_path / "a", {"graph": {"format": "tensorrt"}}, {"graph.onnx": b""})
    with pytest.raises(ModelFileError, match=r"names no known graph\.format"):
        read_bundle(tmp_path / "a")


def test_a_bomb_is_refused_before_it_is_read(small: bytes) -> None:
    """A directory entry that claims to inflate to 4 GB."""
    content = bytearray(small)
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (2**32 - 2).to_bytes(4, "little")
    with pytest.raises(ModelFileError, match=r"claims a size that it cannot have|truncated, damaged"):
        parse_bundle(bytes(content), "x")


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path, Path("a\0b")):
        with pytest.raises(ModelFileError, match=r"does not exist|is a folder|cannot be read"):
            read_bundle(path)


def test_a_graph_that_is_none_and_a_card_that_lacks_things(
    small: bytes, tmp_path: Path, bundle_file: Path
) -> None:
    (tmp_path / "small").write_bytes(small)
    with pytest.raises(ModelFileError, match="its graph cannot be run"):
        load_bundle(tmp_path / "small")
    sound = read_bundle(bundle_file)
    for key in ("tail", "threshold", "heat", "levels", "config"):
        card = {k: v for k, v in sound.card.items() if k != key}
        write_bundle(tmp_path / "b", card, sound.members)
        with pytest.raises(ModelFileError, match="its card lacks what scoring needs"):
            load_bundle(tmp_path / "b")


def damaged(content: bytes, edits: list[tuple[int, int]], cut: int) -> bytes:
    changed = bytearray(content)
    for place, value in edits:
        changed[place % len(changed)] = value
    return bytes(changed[: len(changed) - cut % len(changed)] if cut else changed)


def only_errors_that_a_user_can_fix(content: bytes) -> None:
    try:
        parse_bundle(content, "fuzzed")
    except PatchebmError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017


EDITS = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=8)
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None, "derandomize": True}


def fuzz(small: bytes, times: int) -> None:
    """1,800 inputs, so many times."""

    @given(EDITS, st.one_of(st.just(0), st.integers(0, 10_000)))
    def bytes_of_a_bundle(edits: list[tuple[int, int]], cut: int) -> None:
        only_errors_that_a_user_can_fix(damaged(small, edits, cut))

    @given(st.binary(max_size=200))
    def bytes_of_nothing(content: bytes) -> None:
        only_errors_that_a_user_can_fix(content)

    json_like = st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
        max_leaves=8,
    )

    @given(json_like, json_like)
    def json_of_a_bundle(first: object, second: object) -> None:
        manifest_ = {"format": "patchebm-bundle", "format_version": 2, "sha256": first}
        for content in (first, manifest_):
            only_errors_that_a_user_can_fix(rezipped(small, **{MANIFEST: json.dumps(content).encode()}))
        only_errors_that_a_user_can_fix(rezipped(small, **{"card.json": json.dumps(second).encode()}))

    keys = st.sampled_from(["tail", "threshold", "heat", "graph", "levels", "config"])

    @given(st.dictionaries(keys, json_like))
    def cards(changes: dict[str, object]) -> None:
        sound = {
            "graph": {"size": [64, 64]},
            "levels": ["patch"],
            "tail": {"scores": [0.0, 1.0, 2.0], "weights": [1.0, 1.0, 1.0]},
            "threshold": {
                "value": 1.0,
                "false_alarm_rate": 0.1,
                "extrapolated": False,
                "normals": 3,
                "parts": 3,
            },
            "heat": {"low": 0.0, "high": 1.0},
        }
        with contextlib.suppress(PatchebmError):
            BundlePredictor(Bundle("fuzzed", sound | changes, {}), NoEngine())

    for number, one in ((6, bytes_of_a_bundle), (2, bytes_of_nothing), (2, json_of_a_bundle), (4, cards)):
        settings(max_examples=number * 100 * times, **QUIET)(one)()  # type: ignore[arg-type]


class NoEngine:
    """Never asked for anything."""

    def run(self, images: object, outputs: object) -> dict[str, np.ndarray]:
        raise AssertionError


def test_1800_damaged_bundles(small: bytes) -> None:
    fuzz(small, 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_18000_damaged_bundles(small: bytes) -> None:
    fuzz(small, 10)
