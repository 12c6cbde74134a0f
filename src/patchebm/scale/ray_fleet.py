"""This module does the work on many products on a Ray cluster, a task for each."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import ray

from patchebm.scale.product import Product, do
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
        """Does the work; see `patchebm.scale.fleet.FleetEngine`. A task whose node dies is done again."""
        with ray_session(self.address, self.workers):
            task = ray.remote(do).options(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=3)
            running = [task.remote(product) for product in products]
            while running:
                finished, running = ray.wait(running)
                yield ray.get(finished[0])
