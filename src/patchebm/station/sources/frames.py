"""This module says what a camera does, and packs its frames without any loss."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from patchebm.errors import PatchebmError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]


class CameraLost(PatchebmError):
    """The camera cannot be reached, or gives no frames any more."""


class FrameBroken(PatchebmError):
    """A frame came, and not the whole of it."""


@dataclass(frozen=True)
class Frame:
    """This class is a picture as the camera gave it.

    Attributes:
        pixels: `(H, W)` grey or `(H, W, 3)` red, green, blue; uint8 or uint16. Numbers of 10 or 12 bits stand
            in uint16 as they are: the model's white level says what is white.
        white: the largest number that the camera can give.
        time: when it was taken over from the camera, in seconds of the monotonic clock.
    """

    pixels: Pixels
    white: int = 255
    time: float = field(default_factory=time.monotonic)

    def png(self) -> bytes:
        """Returns the frame as a PNG: the same numbers."""
        if self.pixels.ndim == 3 and self.pixels.dtype == np.uint16:
            # Pillow writes no colours of 16 bits; whoever makes them here has OpenCV.
            import cv2

            settings = [cv2.IMWRITE_PNG_COMPRESSION, 1]
            return bytes(cv2.imencode(".png", self.pixels[:, :, ::-1], settings)[1])
        packed = io.BytesIO()
        Image.fromarray(self.pixels).save(packed, "PNG", compress_level=1)
        return packed.getvalue()

    def shares(self) -> NDArray[np.float32]:
        """Returns the pixels `(H, W, 1 or 3)` float32 in [0, 1]."""
        values = self.pixels if self.pixels.ndim == 3 else self.pixels[:, :, np.newaxis]
        return np.asarray(values.astype(np.float32) / np.float32(self.white))


class Camera(Protocol):
    """This class gives the frames of one camera; one thread uses it."""

    def open(self) -> None:
        """Connects. Raises CameraLost if the camera cannot be reached, ConfigError for a wrong setting."""
        ...

    def fire(self) -> None:
        """Has the camera take a frame, where it waits for that; else it does nothing."""
        ...

    def grab(self) -> Frame | None:
        """Returns the next frame; None if there is none yet. Raises CameraLost, FrameBroken."""
        ...

    def close(self) -> None:
        """Lets go of the camera."""
        ...
