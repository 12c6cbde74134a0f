"""What senders may do wrong or mean ill: nothing of it is a server's error."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.station.running import Running, png, running


def bomb() -> bytes:
    """A PNG of 40,000 x 40,000 black pixels in 200 kB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = packer.compress(bytes(40_001) * 200) + packer.flush()
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"\x89PNG\r\n\x1a\n", png()[:200], png()[:-200], b"GIF89a" + bytes(100), bomb()],
    ids=["empty", "zero", "magic", "half", "almost", "gif", "bomb"],
)
def test_what_is_no_whole_image_is_refused_with_a_sentence(served: Running, content: bytes) -> None:
    answer = served.push(content)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.json()["detail"]) > 20


def test_an_image_of_too_many_pixels_is_refused_before_it_is_unpacked(
    bundle_file: Path, tmp_path: Path
) -> None:
    with running(tmp_path / "station", bundle_file, megapixels=0.005) as station:
        answer = station.push(png())
        assert answer.status_code == 201
        packed = io.BytesIO()
        Image.new("L", (100, 100)).save(packed, "PNG")
        answer = station.push(packed.getvalue())
        assert answer.status_code == 422
        assert "megapixels" in answer.json()["detail"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_cut_off(bundle_file: Path, tmp_path: Path, chunked: bool) -> None:
    with (
        running(tmp_path / "station", bundle_file, upload_mb=0.1) as station,
        station.client("line") as client,
    ):
        content = iter([bytes(50_000)] * 20) if chunked else bytes(1_000_000)
        try:
            answer = client.post("/api/v1/products/flange/inspections", content=content)
        except httpx.WriteError:
            # The station hung up on the rest.
            return
        assert answer.status_code == 413


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_images_are_never_a_servers_error(served: Running, data: st.DataObject) -> None:
    content = bytearray(png())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert served.push(bytes(content)).status_code in (201, 422)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(min_size=1, max_size=40))
def test_names_never_become_paths(served: Running, name: str) -> None:
    with served.client("admin") as client:
        for path in ("/api/v1/products/{}", "/api/v1/inspections/{}/image", "/static/{}"):
            answer = client.get(path.format(quote(name, safe="")))
            assert answer.status_code in (200, 307, 404, 405, 422)
            assert "root:" not in answer.text


@pytest.mark.parametrize(
    "path", ["/static/../web/app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2fstation.py"]
)
def test_static_files_end_at_their_folder(served: Running, path: str) -> None:
    with served.client("admin") as client:
        assert client.get(path).status_code == 404
