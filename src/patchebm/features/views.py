"""Views of an image's pixels: patches at Gaussian-distributed positions, an n x n grid of them, or the whole.

A set of views holds no images; it says how images are resized and cut. Both kinds answer to the same
calls, so that the image level is the patch level with a single patch, the whole image.
"""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple, Protocol

import torch
import yaml
from torch import Tensor

from patchebm.config.pixels import ImageViewConfig, PatchViewConfig
from patchebm.errors import ConfigError, ImageError
from patchebm.features.resize import resize


class Resized(NamedTuple):
    """An image resized for training, and by how much.

    Attributes:
        pixels: `(C, H, W)` float32 in [-1, 1].
        scale: resized over original pixels, along (y, x).
    """

    pixels: Tensor
    scale: tuple[float, float]


class Drawn(NamedTuple):
    """Training views.

    Attributes:
        views: `(n, C, h, w)` float32 in [-1, 1].
        image: `(n,)` int64: the image that each comes from.
        cell: `(n,)` int64: the position of the test grid nearest to each.
    """

    views: Tensor
    image: Tensor
    cell: Tensor


def _resized(image: Tensor, size: tuple[int, int]) -> Resized:
    height, width = image.shape[-2:]
    return Resized(resize(image[None], size)[0], (size[0] / height, size[1] / width))


class Views(Protocol):
    """How a level cuts the images that it is given."""

    positions: int
    """Number of test views of an image, one per grid position."""

    grid_size: tuple[int, int]
    """Rows and columns of the grid of test views."""

    view_size: tuple[int, int]
    """Height and width of a view."""

    test_size: tuple[int, int]
    """Height and width to which images are resized for scoring."""

    def for_training(self, image: Tensor) -> Resized:
        """Resize an image `(C, H, W)` for `draw`."""
        ...

    def draw(self, images: list[Resized], n: int, generator: torch.Generator) -> Drawn:
        """Draw n training views of random images."""
        ...

    def grid(self, image: Tensor) -> Tensor:
        """Cut all test views `(positions, C, h, w)` of an image `(C, *test_size)`."""
        ...

    def map_of(self, values: Tensor) -> Tensor:
        """Turn values of the positions `(B, rows, columns)` into maps `(B, *test_size)`."""
        ...


def thesis_position_std(category: str) -> tuple[float, float]:
    """The thesis' (x, y) standard deviation of training patches' positions for an MVTec AD category, in
    original pixels.

    Raises:
        ConfigError: the thesis has no such category; names those that it has.
    """
    text = (
        resources.files("patchebm.features").joinpath("thesis_position_std.yaml").read_text(encoding="utf-8")
    )
    table = yaml.safe_load(text)
    if category not in table:
        raise ConfigError(
            f"patch.view.position_std '{category}' is no MVTec AD category; use two numbers, null, or one of "
            f"{', '.join(table)}"
        )
    x, y = table[category]
    return float(x), float(y)


class PatchViews:
    """Square patches of a resized image.

    Args:
        config: sizes, patch, grid and the standard deviation of positions.
        on_grid: training patches are moved to the nearest position of the test grid.

    Raises:
        ConfigError: a patch larger than the resized image, an empty grid, or `on_grid` with training
            images of another size than those that are scored.
    """

    def __init__(self, config: PatchViewConfig, *, on_grid: bool = False) -> None:
        self._config = config
        self._on_grid = on_grid
        if on_grid and config.train_size != config.test_size:
            raise ConfigError(
                "patch.energy.gaussian.per_position needs patch.view.train_size equal to test_size; "
                "set both to one size"
            )
        self._std = (
            thesis_position_std(config.position_std)
            if isinstance(config.position_std, str)
            else config.position_std
        )
        height, width = config.test_size
        for name, size in (("test_size", config.test_size), ("train_size", config.train_size)):
            if size is not None and config.patch > min(size):
                raise ConfigError(
                    f"patch.view.patch {config.patch} is larger than patch.view.{name} {list(size)}; "
                    "make the patch smaller or the size larger"
                )
        self.view_size = (config.patch, config.patch)
        self._tops = torch.linspace(0, height - config.patch, config.grid).round().long()
        self._lefts = torch.linspace(0, width - config.patch, config.grid).round().long()
        self.positions = config.grid**2
        self.grid_size = (config.grid, config.grid)
        self.test_size = (height, width)
        self._rows = _cover(self._tops, config.patch, height)
        self._columns = _cover(self._lefts, config.patch, width)

    def for_training(self, image: Tensor) -> Resized:
        """Resize to `train_size`, or by `train_scale`. Raises ImageError for one smaller than a patch."""
        size = self._config.train_size
        if size is None:
            height, width = image.shape[-2:]
            scale = self._config.train_scale
            size = (round(height * scale), round(width * scale))
            if min(size) < self._config.patch:
                raise ImageError(
                    f"an image of {width} x {height} px is smaller than a patch of {self._config.patch} px "
                    f"at train_scale {scale}; use larger images or set patch.view.train_size"
                )
        return _resized(image, size)

    def draw(self, images: list[Resized], n: int, generator: torch.Generator) -> Drawn:
        """Cut n patches at Gaussian-distributed positions around the centres of random images.

        Positions follow a Gaussian truncated to those that lie inside the image, so that none pile up
        at the border; uniform positions are its limit for a large one.
        """
        which = torch.randint(len(images), (n,), generator=generator)
        u = torch.rand((n, 2), generator=generator, dtype=torch.float64)
        patch = self._config.patch
        views, cells = [], []
        for index, (ux, uy) in zip(which.tolist(), u.tolist(), strict=True):
            pixels, (scale_y, scale_x) = images[index]
            height, width = pixels.shape[-2:]
            # The standard deviation is in pixels of the original image, as in the thesis.
            left = _truncated_offset(ux, width - patch, self._std and self._std[0] * scale_x)
            top = _truncated_offset(uy, height - patch, self._std and self._std[1] * scale_y)
            row = round(top / max(1, height - patch) * (self._config.grid - 1))
            column = round(left / max(1, width - patch) * (self._config.grid - 1))
            if self._on_grid:
                top, left = int(self._tops[row]), int(self._lefts[column])
            views.append(pixels[:, top : top + patch, left : left + patch])
            cells.append(row * self._config.grid + column)
        return Drawn(torch.stack(views), which, torch.tensor(cells))

    def grid(self, image: Tensor) -> Tensor:
        """The n x n patches `(n * n, C, patch, patch)`, row by row."""
        patch = self._config.patch
        windows = image.unfold(1, patch, 1).unfold(2, patch, 1)
        rows, columns = self._tops.to(image.device), self._lefts.to(image.device)
        chosen = windows[:, rows][:, :, columns]
        return chosen.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()

    def map_of(self, values: Tensor) -> Tensor:
        """Take at each pixel the mean of the values of the patches that cover it."""
        rows, columns = self._rows.to(values), self._columns.to(values)
        count = rows.sum(1)[:, None] * columns.sum(1)
        total = rows @ values @ columns.T
        # No patch covers the pixels between the patches of a sparse grid.
        return torch.where(count > 0, total / count.clamp(min=1), values.amin((1, 2), keepdim=True))


def _cover(starts: Tensor, patch: int, side: int) -> Tensor:
    """Which pixels along an axis each patch covers, `(side, patches)`."""
    pixel = torch.arange(side)[:, None]
    return ((pixel >= starts) & (pixel < starts + patch)).float()


def _truncated_offset(u: float, room: int, std: float | None) -> int:
    """An offset in 0..room: a Gaussian around room / 2, truncated, by inversion of u in [0, 1)."""
    if room <= 0:
        return 0
    if std is None:
        return int(u * (room + 1))
    half = torch.tensor(room / 2 / max(std, 1e-6), dtype=torch.float64)
    low = torch.special.ndtr(-half)
    z = torch.special.ndtri(low + u * (1 - 2 * low))
    return min(room, max(0, round(room / 2 + float(z) * std)))


class ImageViews:
    """The whole image, squeezed to one size.

    Args:
        config: the size.

    Raises:
        ConfigError: a size below 8 pixels.
    """

    def __init__(self, config: ImageViewConfig) -> None:
        if min(config.size) < 8:
            raise ConfigError(
                f"image.view.size {list(config.size)} is below 8 pixels; use for instance [32, 32]"
            )
        self.view_size: tuple[int, int] = (config.size[0], config.size[1])
        self.test_size = self.view_size
        self.positions = 1
        self.grid_size = (1, 1)

    def for_training(self, image: Tensor) -> Resized:
        """Resize to the size of a view."""
        return _resized(image, self.view_size)

    def draw(self, images: list[Resized], n: int, generator: torch.Generator) -> Drawn:
        """Draw n random images; their only cell is 0."""
        which = torch.randint(len(images), (n,), generator=generator)
        views = torch.stack([images[i].pixels for i in which.tolist()])
        return Drawn(views, which, torch.zeros(n, dtype=torch.long))

    def grid(self, image: Tensor) -> Tensor:
        """The image as the only view `(1, C, H, W)`."""
        return image[None]

    def map_of(self, values: Tensor) -> Tensor:
        """Return the maps as they are: they are of pixels already."""
        return values
