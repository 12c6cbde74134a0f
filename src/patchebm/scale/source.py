"""This module finds the images that are to be scored: a folder, a glob, a manifest, one file, or a URI."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from patchebm.errors import DataError
from patchebm.images.formats import has_image_suffix
from patchebm.images.listing import LeftOut, endings, list_images
from patchebm.images.names import means_masks
from patchebm.scale.manifest import MANIFESTS, open_manifest
from patchebm.scale.storage import attempt, file_system, is_uri, local_path


class Row(NamedTuple):
    """This class is an image that is to be scored.

    Attributes:
        image: what the results call it: its path or URI as the source has it.
        location: where it is read; empty where a manifest names none.
        carried: the values of the further columns of a manifest.
    """

    image: str
    location: str
    carried: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Source:
    """This class is a list of images that can be gone through several times, always in the same order.

    Attributes:
        name: what the user called it.
        rows: begins to go through it. A manifest is read again each time: it need not fit into memory.
        carried: the names and types of the further columns of a manifest.
        left_out: what lies in its folders and is not used.
    """

    name: str
    rows: Callable[[], Iterator[Row]]
    carried: pa.Schema
    left_out: tuple[LeftOut, ...] = ()


def open_source(name: str) -> Source:
    """Returns the images that a source stands for.

    Args:
        name: a folder, which is searched with its sub-folders; a glob such as `in/2024-*/**/*.png`; a
            manifest, `.csv` or `.parquet`; an image; or a URI of any of these.

    Raises:
        DataError: there is nothing there, it holds no images, or a manifest is not what it should be.
        PatchebmError: the store cannot be reached, or may not be read.
    """
    if name.lower().endswith(MANIFESTS):
        manifest = open_manifest(name)

        def rows() -> Iterator[Row]:
            for image, location, carried in manifest.rows():
                yield Row(image, location, carried)

        return Source(name, rows, manifest.carried)
    if is_uri(name):
        return _listed(name, remote_images(name))
    path = local_path(name)
    if not path.exists() and glob.has_magic(str(path)):
        found = sorted(glob.glob(str(path), recursive=True))
        return _listed(name, [one for one in found if has_image_suffix(one) and Path(one).is_file()])
    listing = list_images(path)
    return _listed(name, [str(image) for image in listing.images], listing.left_out)


def _listed(name: str, images: Sequence[str], left_out: tuple[LeftOut, ...] = ()) -> Source:
    if not images:
        raise DataError(f"{name} holds no {endings()} files; name a folder, a glob or a manifest of images")
    return Source(name, lambda: (Row(image, image) for image in images), pa.schema([]), left_out)


def remote_images(uri: str) -> list[str]:
    """Returns the URIs of the images below a URI, sorted, without hidden ones and masks."""
    system, path = file_system(uri)
    if "*" not in uri and has_image_suffix(path):
        return [uri]
    search = system.glob if "*" in uri else system.find
    try:
        found = attempt(uri, lambda: search(path))
    except FileNotFoundError:
        found = []
    below = len(path.rstrip("/")) + 1
    images = []
    for file in sorted(map(str, found)):
        inner = file[below:].split("/") if "*" not in uri else [file.rsplit("/", 1)[-1]]
        hidden = any(part.startswith(".") for part in inner)
        if has_image_suffix(file) and not hidden and not any(map(means_masks, inner[:-1])):
            images.append(str(system.unstrip_protocol(file)))
    return images
