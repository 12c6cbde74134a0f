"""This module is the engine for a cluster: Ray Data with a pool of actors, one engine session for each."""

from __future__ import annotations

import logging
import socket
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import asdict
from itertools import chain
from typing import Any

import pyarrow as pa
import ray
import ray.data

from patchebm.errors import ConfigError, PatchebmError
from patchebm.scale.block import Done
from patchebm.scale.engine import B, Work
from patchebm.scale.ray_session import ray_session


class RayEngine:
    """This class scores on a Ray cluster. Paths travel in blocks; pixels stay where they are read.

    Args:
        workers: actors, at most; None for as many as the cluster has room for.
        address: see `patchebm.scale.ray_session.ray_session`.
        num_cpus: cores that Ray reserves for an actor.
        num_gpus: the same of GPUs.
    """

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
    ) -> None:
        self.workers = workers
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus

    def score(self, work: Work[B], blocks: Iterable[B]) -> Generator[Done, None, None]:
        """Scores blocks, and yields what was done; see `patchebm.scale.engine.Engine`.

        Ray starts actors again that die, on other nodes if theirs is gone, and does their blocks again.

        Raises:
            ConfigError: there is no cluster, or it has no room for one worker.
            PatchebmError: what a worker raises.
        """
        with ray_session(self.address, self.workers) as cores:
            self._require_room()
            room = max(1, int(cores / self.num_cpus)) if self.num_cpus else max(1, cores)
            # In the shared memory of Ray, one by one: the driver holds one block at a time. They stay there
            # until all is done, so that an actor that is started again finds them.
            shared_blocks = [ray.put(block) for block in blocks]
            shared_work = ray.put(work)
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            ray.data.DataContext.get_current().enable_progress_bars = False
            most = min(self.workers or room, len(shared_blocks))
            positions = [{"position": position} for position in range(len(shared_blocks))]
            done = ray.data.from_items(positions, override_num_blocks=len(positions)).map_batches(
                _Scorer,
                # In lists, or Ray would hand over their contents, all at once.
                fn_constructor_args=([shared_work], shared_blocks),
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most, initial_size=min(most, room)),
                num_cpus=self.num_cpus,
                num_gpus=self.num_gpus,
            )
            known: set[int] = set()
            # Threads of Ray Data that are still at work when Ray is left end the whole process, without a
            # word. So nothing is fetched ahead, which such threads would do, and the iterator is closed
            # before Ray is left, whatever ends the loop.
            batches = done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
            with closing(iter(batches)) as tables:
                for row in chain.from_iterable(table.to_pylist() for table in tables):
                    if (sentence := row.pop("halt")) is not None:
                        raise PatchebmError(sentence)
                    # A block is done twice when the answer of the first time was lost with its node.
                    if row["number"] not in known:
                        known.add(row["number"])
                        yield Done(**row)

    def _require_room(self) -> None:
        there = ray.cluster_resources()
        for name, wanted in (("CPU", self.num_cpus), ("GPU", self.num_gpus)):
            if wanted > there.get(name, 0):
                raise ConfigError(
                    f"the Ray cluster has {there.get(name, 0):g} {name}s and a worker wants {wanted:g}; set "
                    f"--num-{name.lower()}s lower"
                )


class _Scorer:
    """This class is an actor: it opens one engine session and scores the blocks that it is given.

    What a user can fix comes back as a row and not as an exception, which Ray would wrap and try again.
    """

    def __init__(self, work: list[ray.ObjectRef], blocks: list[ray.ObjectRef]) -> None:
        self._work: Work[Any] = ray.get(work[0])
        self._blocks = blocks
        self._unfit: str | None = None
        try:
            self._work.check_worker(f"worker {socket.gethostname()}")
        except PatchebmError as error:
            self._unfit = str(error)

    def __call__(self, rows: pa.Table) -> pa.Table:
        found: list[dict[str, Any]] = []
        for position in rows.column("position").to_pylist():
            block = ray.get(self._blocks[position])
            try:
                if self._unfit is not None:
                    raise PatchebmError(self._unfit)
                done = self._work.score(block)
                found.append(asdict(done) | {"halt": None})
            except PatchebmError as error:
                found.append(asdict(Done(block.number, 0, 0)) | {"halt": str(error)})
        return pa.Table.from_pylist(found, schema=_ANSWER)


_ANSWER = pa.schema(
    [
        ("number", pa.int64()),
        ("images", pa.int64()),
        ("errors", pa.int64()),
        ("stop", pa.string()),
        ("halt", pa.string()),
    ]
)
