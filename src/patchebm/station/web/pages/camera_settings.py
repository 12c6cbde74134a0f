"""This module says which settings of a camera its page shows, and takes in what the page sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from patchebm.errors import ConfigError
from patchebm.station.services.joined import VIEWS
from patchebm.station.sources.camera import AHEAD
from patchebm.station.sources.frame_check import BLACK_BELOW, FROZEN_AFTER
from patchebm.station.sources.triggers import FRAMES, INTERVAL, SOFTWARE

# What engineers may change; which camera it is, admins alone may. A stream is set up at its camera.
_CAMERA: dict[str, tuple[str, ...]] = {
    "opencv": ("exposure", "gain", "width", "height", "fps"),
    "aravis": ("exposure", "gain", "fps"),
}
_WORDS: dict[str, tuple[str, ...]] = {"aravis": ("pixel_format", "trigger_source")}
_PART = ("interval", "debounce", "deadline")
_FRAME = ("delay", "ahead", "frozen_after", "black_below")
_REGION = ("x", "y", "width", "height")
KINDS = (*_CAMERA, VIEWS)
# What a field that is empty stands for.
DEFAULTS = {
    "debounce": 0,
    "delay": 0,
    "ahead": AHEAD,
    "frozen_after": FROZEN_AFTER,
    "black_below": BLACK_BELOW,
    "ng_views": 1,
}


@dataclass(frozen=True)
class Fields:
    """This class is what the page asks about a source, or about one of its views.

    Attributes:
        view: name of the view; "" for the source.
        kind: of the source or of the view's camera.
        settings: as they are stored.
        triggers: that can be chosen; a view has none of its own.
        numbers, words, region: names of settings; those of the region are its parts.
    """

    view: str
    kind: str
    settings: dict[str, Any]
    triggers: tuple[str, ...]
    numbers: tuple[str, ...]
    words: tuple[str, ...]
    region: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """Returns how the names of its fields begin."""
        return f"{self.view}." if self.view else ""


def fields(kind: str, settings: dict[str, Any]) -> list[Fields]:
    """Returns what the page asks about a source, and then about each of its views."""
    if kind != VIEWS:
        return [_of_camera("", kind, settings, (SOFTWARE, INTERVAL, FRAMES), _PART)]
    part = Fields("", kind, settings, (SOFTWARE, INTERVAL), (*_PART, "ng_views"), (), ())
    views = [_of_camera(name, view["kind"], view, (), ()) for name, view in settings[VIEWS].items()]
    return [part, *views]


def changed(kind: str, settings: dict[str, Any], form: dict[str, str]) -> dict[str, Any]:
    """Returns settings with what a form says; what it leaves empty is left out.

    Raises:
        ConfigError: a number is none.
    """
    source, *views = fields(kind, settings)
    found = _filled(source, form)
    if views:
        found[VIEWS] = {view.view: _filled(view, form) for view in views}
    return found


def _of_camera(
    view: str, kind: str, settings: dict[str, Any], triggers: tuple[str, ...], part: tuple[str, ...]
) -> Fields:
    own = () if "url" in settings else _CAMERA[kind]
    region = _REGION if kind == "aravis" else ()
    return Fields(view, kind, settings, triggers, (*own, *part, *_FRAME), _WORDS.get(kind, ()), region)


def _filled(asked: Fields, form: dict[str, str]) -> dict[str, Any]:
    given = {
        key.removeprefix(asked.prefix): text.strip()
        for key, text in form.items()
        if key.startswith(asked.prefix)
    }
    values: dict[str, Any] = {key: given[key] for key in ("trigger", *asked.words) if key in given}
    values |= {key: _number(key, given[key]) for key in asked.numbers if key in given}
    region = {key: given[f"region_{key}"] for key in asked.region if f"region_{key}" in given}
    if region:
        whole = {key: _whole(key, text) for key, text in region.items()} if any(region.values()) else ""
        values["region"] = whole
    found = asked.settings | values
    if found.get("trigger") != INTERVAL:
        found.pop("interval", None)
    return {key: value for key, value in found.items() if key not in values or value != ""}


def _number(key: str, text: str) -> float | str:
    if not text:
        return ""
    try:
        value = float(text)
    except ValueError as error:
        raise ConfigError(f"{key} must be a number, not '{text:.40}'") from error
    return int(value) if value.is_integer() else value


def _whole(key: str, text: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{key} of the region must be a whole number of pixels; fill in all four, or none")
    return int(text)
