"""This module finds the images of many products: folders of their names, or a manifest that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from patchebm.errors import DataError
from patchebm.files import as_unicode
from patchebm.images.listing import LeftOut, LeftOutTally, endings, folders_in, images_below, images_in
from patchebm.images.names import means_masks
from patchebm.scale.manifest import MANIFESTS, open_manifest
from patchebm.scale.source import Row, remote_images
from patchebm.scale.storage import file_system, is_uri, local_path

PRODUCT = "product"
"""The column that says which product an image shows; all results have it."""


@dataclass(frozen=True)
class FleetSource:
    """This class is a list of images of products that can be gone through several times, in the same order.

    Attributes:
        name: what the user called it.
        rows: begins to go through it; yields the product and the image.
        carried: the names and types of what is carried along, `product` among them.
        left_out: what lies in its folders and is not used.
    """

    name: str
    rows: Callable[[], Iterator[tuple[str, Row]]]
    carried: pa.Schema
    left_out: tuple[LeftOut, ...] = ()


def open_fleet_source(name: str) -> FleetSource:
    """Returns the images of products that a source stands for.

    Args:
        name: a folder, or its URI, with a folder for each product, which is searched with its sub-folders;
            or a manifest, `.csv` or `.parquet`, with a column `product`.

    Raises:
        DataError: there is nothing there, it holds no images, or a manifest is not what it should be.
        PatchebmError: the store cannot be reached, or may not be read.
    """
    if name.lower().endswith(MANIFESTS):
        return _of_manifest(name)
    return _of_uri(name) if is_uri(name) else _of_folder(name)


def _of_manifest(name: str) -> FleetSource:
    manifest = open_manifest(name)
    columns = manifest.carried.names
    if PRODUCT not in columns:
        has = ", ".join(columns) or "none"
        raise DataError(
            f"{name} has no column {PRODUCT} (beside that of the images it has {has}); say in it which "
            "product each image shows"
        )
    at = columns.index(PRODUCT)

    def rows() -> Iterator[tuple[str, Row]]:
        for number, (image, location, carried) in enumerate(manifest.rows(), 1):
            if carried[at] in (None, ""):
                raise DataError(
                    f"{name}: image {number} ({image}) has no product; name it or leave the row out"
                )
            yield str(carried[at]), Row(image, location, carried)

    return FleetSource(name, rows, manifest.carried)


def _of_folder(name: str) -> FleetSource:
    root = local_path(name)
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {what}; name a folder of product folders, or a manifest with their names")
    tally = LeftOutTally()
    found = []
    for folder in folders_in(root):
        if not means_masks(folder.name):
            images = sorted(images_below(folder, tally))
            found += [(as_unicode(folder.name), str(image)) for image in images]
            tally.add("folders without images", [] if images else [folder])
    tally.add("images beside the folders of products", images_in(root, tally))
    return _listed(name, found, tally)


def _of_uri(name: str) -> FleetSource:
    system, path = file_system(name)
    above = len(str(system.unstrip_protocol(path)).rstrip("/")) + 1
    tally = LeftOutTally()
    found = []
    for uri in remote_images(name):
        product, slash, _ = uri[above:].partition("/")
        if slash:
            found.append((product, uri))
        else:
            tally.add("images beside the folders of products", [local_path(product)])
    return _listed(name, found, tally)


def _listed(name: str, found: list[tuple[str, str]], tally: LeftOutTally) -> FleetSource:
    if not found:
        raise DataError(f"{name} holds no folders of {endings()} files; name a folder of product folders")
    return FleetSource(
        name,
        lambda: ((product, Row(image, image, (product,))) for product, image in found),
        pa.schema([(PRODUCT, pa.string())]),
        tally.found(),
    )
