"""This module measures the runs of a benchmark on a Ray cluster, a task for each."""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence

import ray
from ray.exceptions import RayError

from patchebm._version import __version__
from patchebm.errors import PatchebmError
from patchebm.evaluation.benchmark import Job, Outcome, outcome_of
from patchebm.images.folders import ImageSet
from patchebm.scale.block import check_version
from patchebm.scale.ray_session import ray_session


class RayJobs:
    """This class measures on a Ray cluster; the folders of images must be shared by its machines.

    Args:
        workers: that a Ray started here has room for; None for one for each core.
        address: see `patchebm.scale.ray_session.ray_session`.
        num_cpus: cores that Ray reserves for a run, which are the threads that torch uses.
        num_gpus: the same of GPUs.
        device: where a run computes.
    """

    def __init__(
        self, workers: int | None, address: str | None, num_cpus: float, num_gpus: float, device: str
    ) -> None:
        self.workers = workers
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.device = device

    def measure(self, jobs: Sequence[tuple[Job, ImageSet]]) -> Generator[tuple[Job, Outcome], None, None]:
        """Measures jobs, and yields each with its outcome; see `patchebm.evaluation.benchmark.JobEngine`.

        A task whose node dies is done again; what dies again and again is an error of its run alone.
        """
        with ray_session(self.address, self.workers):
            task = ray.remote(_measure).options(num_cpus=self.num_cpus, num_gpus=self.num_gpus, max_retries=3)
            jobs_of = {task.remote(job, images, self.device, __version__): job for job, images in jobs}
            running = list(jobs_of)
            while running:
                finished, running = ray.wait(running)
                try:
                    yield jobs_of[finished[0]], ray.get(finished[0])
                except RayError as error:
                    reason = " ".join(str(error).split())
                    yield jobs_of[finished[0]], f"its worker died ({reason:.200})"


def _measure(job: Job, images: ImageSet, device: str, version: str) -> Outcome:
    try:
        check_version(f"worker {socket.gethostname()}", version)
    except PatchebmError as error:
        return str(error)
    return outcome_of(job, images, device)
