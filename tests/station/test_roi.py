"""A product's region of interest: set, audited, applied to each image, and refused where it does not fit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from sqlalchemy import text

import patchebm
from patchebm.cli.station import run
from patchebm.errors import ConfigError, ImageError
from patchebm.images.decoders import decode
from patchebm.station.database.engine import database_url, open_engine
from patchebm.station.database.upgrade import upgrade
from patchebm.station.roi import Roi, roi_of
from patchebm.station.services import shadow
from patchebm.station.services.training_images import writer_of
from tests.station.running import Running, png

ROI = {"x": 40, "y": 16, "width": 64, "height": 64}


def framed(index: int = 0, defect: str = "good") -> bytes:
    """A part of 64 x 64 pixels in an image of 128 x 96, at the region of interest, amid noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    pixels[16:80, 40:104] = np.asarray(Image.open(io.BytesIO(png(index, defect))).convert("RGB"))
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


def set_roi(station: Running, roi: dict[str, Any] | None, role: str = "engineer") -> httpx.Response:
    with station.client(role) as client:
        return client.patch("/api/v1/products/flange", json={"roi": roi})


def test_what_lies_outside_is_not_inspected(station: Running, bundle_file: Path) -> None:
    whole = station.push(framed()).json()
    assert (whole["verdict"], whole["roi"]) == ("NG", None)
    answer = set_roi(station, ROI)
    assert (answer.status_code, answer.json()["roi"]) == (200, ROI)
    inside = station.push(framed()).json()
    assert (inside["verdict"], inside["roi"]) == ("OK", ROI)
    assert (inside["width"], inside["height"]) == (128, 96)
    # As if the image ended there.
    alone = np.asarray(Image.open(io.BytesIO(png(0))).convert("RGB"))
    (expected,) = patchebm.load(bundle_file).predict([alone])
    assert inside["score"] == pytest.approx(expected.score)
    with station.client("operator") as client:
        grey = Image.open(io.BytesIO(client.get(inside["map"] + "?style=grey").content))
        shown = np.asarray(grey)
        page = client.get(f"/parts/{inside['id']}").text
    # The map lies on the whole image, and shows nothing outside.
    assert shown.shape == (96, 128)
    outside = shown.copy()
    outside[16:80, 40:104] = 0
    assert outside.max() == 0
    assert '<rect x="40" y="16" width="64" height="64"/>' in page
    # What was inspected before stays as it was.
    with station.client() as client:
        assert client.get(f"/api/v1/inspections/{whole['id']}").json() == whole
        entries = client.get("/api/v1/audit").json()["items"]
    (entry,) = [one for one in entries if one["action"] == "product.change"]
    assert (entry["details"]["before"]["roi"], entry["details"]["after"]["roi"]) == (None, ROI)
    assert set_roi(station, None).json()["roi"] is None
    assert station.push(framed(1)).json()["roi"] is None


def test_regions_of_the_map_stand_in_pixels_of_the_whole_image(station: Running) -> None:
    set_roi(station, ROI)
    odd = Image.open(io.BytesIO(framed()))
    pixels = np.array(odd)
    pixels[40:56, 56:72] = (255, 0, 255)
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    part = station.push(packed.getvalue()).json()
    assert part["verdict"] == "NG"
    region = part["regions"][0]
    left, top, width, height = region["box"]
    assert 40 <= left <= left + width <= 104
    assert 16 <= top <= top + height <= 80
    assert region["centre"] == [pytest.approx(64, abs=8), pytest.approx(48, abs=8)]
    assert region["share"] == pytest.approx(region["area"] / (128 * 96))


def test_an_image_that_the_region_does_not_fit_is_refused_and_listed(station: Running) -> None:
    set_roi(station, ROI)
    answer = station.push(png(0), part="P-1")
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "P-1 has 64 x 64 pixels, and the region of interest reaches to 104 x 80; change the region on the "
        "product's page, or send images of the size that it was drawn on"
    )
    with station.client() as client:
        (missed,) = client.get("/api/v1/missed").json()["items"]
    assert (missed["part"], missed["reason"]) == ("P-1", "unreadable")


def test_a_region_that_does_not_fit_the_newest_image_is_refused(station: Running) -> None:
    station.push(png(0))
    answer = set_roi(station, ROI)
    assert answer.status_code == 422
    assert "newest image of 'flange' has 64 x 64 pixels" in answer.json()["detail"]
    with station.client() as client:
        assert client.get("/api/v1/products/flange").json()["roi"] is None


@pytest.mark.parametrize(
    "roi",
    [
        {"x": 0, "y": 0, "width": 64},
        {"x": -1, "y": 0, "width": 64, "height": 64},
        {"x": 0, "y": 0, "width": 15, "height": 64},
        {"x": 0, "y": 0, "width": 64, "height": 64.5},
        {"x": True, "y": 0, "width": 64, "height": 64},
        {"x": 65_500, "y": 0, "width": 64, "height": 64},
        {"box": [0, 0, 1, 1]},
    ],
)
def test_what_is_no_region_is_refused(served: Running, roi: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="region of interest"):
        roi_of(roi)
    answer = set_roi(served, roi)
    assert answer.status_code == 422
    with served.client("engineer") as client:
        assert client.post("/api/v1/products", json={"name": "other", "roi": roi}).status_code == 422


def test_the_page_of_a_product_sets_the_region(station: Running) -> None:
    station.push(framed())
    with station.client("engineer") as client:
        assert "The whole image is inspected." in client.get("/products/flange").text
        answer = client.post("/products/flange/roi", data={key: str(value) for key, value in ROI.items()})
        assert answer.status_code == 303
        assert "64 × 64 pixels from x 40, y 16 on." in client.get("/products/flange").text
        assert station.push(framed(1)).json()["roi"] == ROI
        assert client.post("/products/flange/roi", data={"whole": "true"}).status_code == 303
        assert "The whole image is inspected." in client.get("/products/flange").text


def test_the_command_line_sets_the_region(
    bundle_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "station")
    run(["init", folder])
    run(["product", "add", folder, "flange", "--model", str(bundle_file), "--roi", "40,16,64,64"])
    run(["product", "change", folder, "flange", "--title", "Flange"])
    assert "(Flange), region of interest: 40,16,64,64" in capsys.readouterr().out
    run(["product", "change", folder, "flange", "--roi", "none"])
    assert "(Flange), region of interest: the whole image" in capsys.readouterr().out
    for roi in ("1,2,3", "a,b,c,d", "-1,0,64,64"):
        with pytest.raises(ConfigError, match="X,Y,WIDTH,HEIGHT"):
            run(["product", "change", folder, "flange", f"--roi={roi}"])
    with pytest.raises(ConfigError, match="give --title or --roi"):
        run(["product", "change", folder, "flange"])


def test_another_version_is_compared_by_the_region_of_now(station: Running) -> None:
    before = station.push(framed()).json()
    assert before["verdict"] == "NG"
    set_roi(station, ROI)
    found = shadow.compare(station.station.session, station.station.storage, "flange", 1)
    assert [(row["verdict"], row["other_verdict"]) for row in found.rows] == [("NG", "OK")]


def deep(path: Path) -> np.ndarray:
    values = np.random.default_rng(1).integers(0, 4096, (96, 128), dtype=np.uint16)
    Image.fromarray(values).save(path)
    return values


def test_a_model_learns_from_what_lies_inside(tmp_path: Path) -> None:
    (tmp_path / "colours").write_bytes(framed())
    (tmp_path / "clear").write_bytes(framed())
    image = Image.open(tmp_path / "clear").convert("RGBA")
    image.putalpha(77)
    image.save(tmp_path / "clear", "PNG")
    values = deep(tmp_path / "deep.png")
    uploads = [(name, tmp_path / name) for name in ("colours", "clear")]
    good = tmp_path / "good"
    good.mkdir()
    write = writer_of(uploads, [tmp_path / "deep.png"], 1, roi_of(ROI))
    assert write(good) == 3
    cut = {path.name: decode(path.read_bytes(), path) for path in good.iterdir()}
    assert sorted(cut) == ["00000-colours.png", "00001-clear.png", "part-00000.npy"]
    expected = np.asarray(Image.open(io.BytesIO(png(0))).convert("RGB"))
    np.testing.assert_array_equal(cut["00000-colours.png"].values, expected)
    alpha = cut["00001-clear.png"].alpha
    assert alpha is not None
    assert (alpha == 77).all()
    np.testing.assert_array_equal(cut["part-00000.npy"].values[:, :, 0], values[16:80, 40:104])
    # The whole image where there is no region: the file as it came.
    (tmp_path / "again").write_bytes(framed())
    (tmp_path / "whole").mkdir()
    writer_of([("again", tmp_path / "again")], [], 1, None)(tmp_path / "whole")
    assert (tmp_path / "whole" / "00000-again.png").read_bytes() == framed()
    (tmp_path / "small").write_bytes(png(0))
    with pytest.raises(ImageError, match="small has 64 x 64 pixels"):
        writer_of([("small", tmp_path / "small")], [], 1, Roi(**ROI))(good)


def test_regions_that_were_never_used_go_with_the_update(database: str | None, tmp_path: Path) -> None:
    engine = open_engine(database_url(database, tmp_path))
    upgrade(engine, "0004")
    with engine.begin() as connection:
        insert = "INSERT INTO products (name, title, roi, created) VALUES ('a', '', :roi, :now)"
        facts = {"roi": '{"box": [0, 0, 0.5, 1]}', "now": "2026-01-01 00:00:00"}
        connection.execute(text(insert), facts)
    upgrade(engine)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT roi FROM products")).scalar() is None
    engine.dispose()
