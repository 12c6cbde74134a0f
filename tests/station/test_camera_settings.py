"""What the page of a camera asks, and what becomes of what it sends."""

from __future__ import annotations

from typing import Any

import pytest

from patchebm.errors import ConfigError
from patchebm.station.web.pages.camera_settings import changed, fields

GIGE = {"camera": "10.0.0.6", "gain": 3, "region": {"x": 0, "y": 0, "width": 64, "height": 32}}


def test_a_field_that_is_empty_is_left_out_and_the_camera_stays() -> None:
    form = {"trigger": "interval", "interval": "0.5", "gain": "", "exposure": "1200", "pixel_format": "Mono8"}
    form |= {f"region_{key}": "" for key in GIGE["region"]} | {"csrf_token": "x", "camera": "10.0.0.7"}
    found = changed("aravis", GIGE, form)
    assert found == {
        "camera": "10.0.0.6",
        "trigger": "interval",
        "interval": 0.5,
        "exposure": 1200,
        "pixel_format": "Mono8",
    }
    # Another trigger has no interval, whatever the field says.
    assert "interval" not in changed("aravis", found, {**form, "trigger": "frames"})


def test_each_view_has_its_own_settings() -> None:
    url = "rtsp://viewer:geheim@10.0.0.5/stream"
    settings: dict[str, Any] = {
        "views": {
            "top": {"kind": "opencv", "url": url},
            "side": {"kind": "aravis", "product": "side", **GIGE},
        }
    }
    part, top, side = fields("views", settings)
    assert "ng_views" in part.numbers
    # A stream is set up at its camera; triggers are of the part.
    assert set(top.numbers) == {"delay", "ahead", "frozen_after", "black_below"}
    assert side.triggers == ()
    form = {"trigger": "software", "ng_views": "2", "top.delay": "0.1", "side.gain": "4", "side.delay": ""}
    found = changed("views", settings, form)
    assert found == {
        "trigger": "software",
        "ng_views": 2,
        "views": {
            "top": {"kind": "opencv", "url": url, "delay": 0.1},
            "side": {"kind": "aravis", "product": "side", **GIGE, "gain": 4},
        },
    }


@pytest.mark.parametrize(
    ("form", "word"), [({"gain": "much"}, "gain"), ({"region_x": "1", "region_y": ""}, "all four")]
)
def test_what_is_no_number_is_named(form: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        changed("aravis", GIGE, form)
