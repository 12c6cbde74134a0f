"""This module does the work on many products on a Ray cluster, a task for each."""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from patchebm._version import __version__
from patchebm.errors import PatchebmError
from patchebm.scale.block import check_version
from patchebm.scale.product import Product, do, require_installed
from patchebm.scale.ray_session import ray_session


class RayFleet:
    """This class does the work on a Ray cluster; folders of images and models must be shared by its machines.

    Args:
        workers: that a Ray started here has room for.
        address: see `patchebm.scale.ray_session.ray_session`.
        num_cpus: cores that Ray reserves for a product.
        num_gpus: the same of GPUs.
    """

    def __init__(self, workers: int, address: str | None, num_cpus: float, num_gpus: float) -> None:
        self.workers = workers
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus

    def do(self, products: Sequence[Product]) -> Generator[dict[str, Any], None, None]:
        """Does the work; see `patchebm.scale.fleet.FleetEngine`. A task whose node dies is done again;
        what dies again and again is an error of its product alone.

        Raises:
            PatchebmError: a worker has another version of patchebm, or lacks what the work needs; what is
                done stays.
        """
        with ray_session(self.address, self.workers):
            task = ray.remote(_do).options(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=3)
            products_of = {task.remote(product, __version__): product for product in products}
            running = list(products_of)
            while running:
                finished, running = ray.wait(running)
                try:
                    line = ray.get(finished[0])
                except RayError as error:
                    product, reason = products_of[finished[0]], " ".join(str(error).split())
                    line = dict.fromkeys(product.columns) | {
                        "product": product.name,
                        "error": f"its worker died ({reason:.200})",
                    }
                if isinstance(line, str):
                    raise PatchebmError(line)
                yield line


def _do(product: Product, version: str) -> dict[str, Any] | str:
    """Does the work on a product, and returns its line; a sentence where this worker must do none."""
    try:
        where = f"worker {socket.gethostname()}"
        check_version(where, version)
        require_installed(where, type(product))
    except PatchebmError as error:
        # Not as an exception, which Ray would wrap.
        return str(error)
    return do(product)
