"""This folder holds where images come from: each kind is one class in a file of its own, named in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from patchebm.errors import ConfigError
from patchebm.station.services.joined import PUSHED_VIEWS, VIEWS
from patchebm.station.sources import aravis, opencv
from patchebm.station.sources.base import Context, ImageSource
from patchebm.station.sources.camera import CameraSource
from patchebm.station.sources.folder import FolderSource
from patchebm.station.sources.pushed_views import PushedViews
from patchebm.station.sources.simulator import SimulatedCamera
from patchebm.station.sources.views import ViewsSource

CAMERAS: dict[str, Callable[[Context, dict[str, Any]], CameraSource]] = {
    "aravis": aravis.open_source,
    "opencv": opencv.open_source,
}
KINDS: dict[str, Callable[[Context, dict[str, Any]], ImageSource]] = {
    "folder": FolderSource,
    **CAMERAS,
    "simulator": SimulatedCamera,
    VIEWS: partial(ViewsSource, kinds=CAMERAS),
    PUSHED_VIEWS: PushedViews,
}


def open_source(kind: str, context: Context, settings: dict[str, Any]) -> ImageSource:
    """Returns what brings a source's images. Raises ConfigError for an unknown kind or wrong settings."""
    if kind not in KINDS:
        raise ConfigError(f"source kind '{kind:.20}' is none of {', '.join(KINDS)}")
    return KINDS[kind](context, settings)
