"""Files of a form are written to disk in pieces: none is held in memory, and none is left behind."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from patchebm.errors import PatchebmError
from patchebm.station.web import uploads
from patchebm.station.web.uploads import StreamedForm
from tests.station.running import PASSWORD, Running, png

FILES = [
    ("images", ("one.png", bytes(range(256)) * 40, "image/png")),
    ("images", ('two "2" ü.png', b"\r\n--bound\r\n--" * 20, "image/png")),
    ("notes", ("notes.txt", b"", "text/plain")),
]
FIELDS = {"rate": "0.1", "title": "Größe"}


def encoded(files: list[tuple[str, tuple[str, bytes, str]]]) -> bytes:
    headers = {"Content-Type": "multipart/form-data; boundary=boundary"}
    request = httpx.Request("POST", "http://x", data=FIELDS, files=files, headers=headers)
    # A browser that chose no file for a field.
    nothing = b'--boundary\r\nContent-Disposition: form-data; name="images"; filename=""\r\n\r\n\r\n'
    return nothing + request.read()


def taken(body: bytes, folder: Path, sizes: list[int]) -> StreamedForm:
    form = StreamedForm(b"boundary", folder)
    place = 0
    while place < len(body):
        size = sizes[place % len(sizes)]
        form.write(body[place : place + size])
        place += size
    form.close()
    return form


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=8))
def test_a_form_is_the_same_however_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    form = taken(encoded(FILES), tmp_path_factory.mktemp("form"), sizes)
    assert dict(form.fields) == FIELDS
    found = [(one.field, one.name, one.path.read_bytes()) for one in form.uploads]
    assert [name for _, name, _ in found] == ["one.png", "two %222%22 ü.png", "notes.txt"]
    assert [content for *_, content in found] == [FILES[0][1][1], FILES[1][1][1], b""]
    assert [field for field, *_ in found] == ["images", "images", "notes"]


def test_a_form_is_not_held_in_memory(tmp_path: Path) -> None:
    form = StreamedForm(b"boundary", tmp_path)
    tracemalloc.start()
    try:
        for number in range(40):
            form.write(
                b'--boundary\r\nContent-Disposition: form-data; name="images"; '
                b'filename="%d.png"\r\n\r\n' % number
            )
            for _ in range(16):
                form.write(bytes(65_536))
            form.write(b"\r\n")
        form.write(b"--boundary--\r\n")
        form.close()
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert [one.path.stat().st_size for one in form.uploads] == [16 * 65_536] * 40


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"nothing", "cannot be read"),
        (encoded(FILES)[:-20], "ended too early"),
        (b'--boundary\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + bytes(1_100_000), "too long"),
        (b"--boundary\r\nContent-Disposition: " + b"a" * 9000, "too long|cannot be read"),
    ],
    ids=["no form", "cut off", "long field", "long header"],
)
def test_what_is_no_form_is_said(tmp_path: Path, body: bytes, sentence: str) -> None:
    with pytest.raises(PatchebmError, match=sentence):
        taken(body, tmp_path, [65_536])


def test_too_many_files_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_FILES", 2)
    with pytest.raises(PatchebmError, match="more than 2 files"):
        taken(encoded(FILES), tmp_path, [65_536])


def test_uploads_leave_nothing_behind_and_are_of_a_page_of_the_station(served: Running) -> None:
    address, files = "/products/flange/trainings", [("images", ("notes.txt", b"no image", "text/plain"))]
    folder = served.settings.folder / "uploads"
    with httpx.Client(base_url=served.url, timeout=30) as browser:
        # Who has not signed in sends nothing that is kept.
        assert browser.post(address, data={"rate": "0.1"}, files=files).status_code == 401
        assert not folder.exists()
        browser.post("/login", data={"name": "engineer", "password": PASSWORD})
        token = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(address).text)
        assert token is not None
        refused = browser.post(address, data={"rate": "0.1"}, files=files)
        assert (refused.status_code, "expired" in refused.text) == (403, True)
        form = {"rate": "0.1", "csrf_token": token[1]}
        no_image = browser.post(address, data=form, files=files)
        assert (no_image.status_code, "notes.txt" in no_image.text) == (422, True)
        wrong = browser.post(address, data=form | {"rate": "2"}, files=[("images", ("a.png", png(0)))])
        assert (wrong.status_code, "rate" in wrong.text) == (422, True)
    assert list(folder.iterdir()) == []
