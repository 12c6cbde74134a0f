"""This module is the engine for a cluster: Ray Data with a pool of actors, one engine session for each.

Ray Data has all of its input in Ray's shared memory before it begins. So blocks are compressed (70 to 110
bytes an image become 5 to 40), and come in rounds of a fixed number of blocks, each a run of Ray Data.
"""

from __future__ import annotations

import logging
import pickle
import socket
import zlib
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import asdict
from itertools import chain, islice
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import (
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RaySystemError,
)

from patchebm.errors import ConfigError, PatchebmError
from patchebm.scale.block import Done
from patchebm.scale.engine import B, Work
from patchebm.scale.ray_session import ray_session
from patchebm.scale.ray_tries import TRIES, start_tries

_ERRORS_OF_RAY = (
    ObjectLostError, ObjectStoreFullError, OutOfDiskError, OutOfMemoryError, RayActorError, RaySystemError
)  # fmt: skip
# Of 1,024 images they are four million, which take 160 MB at most; workers start again for each round.
_BLOCKS_AT_A_TIME = 4096


class RayEngine:
    """This class scores on a Ray cluster. Paths travel in blocks; pixels stay where they are read.

    Args:
        workers: actors, at most; None for as many as the cluster has room for.
        address: see `patchebm.scale.ray_session.ray_session`.
        num_cpus: cores that Ray reserves for an actor.
        num_gpus: the same of GPUs.
        blocks_at_a_time: so many blocks are in the shared memory of Ray at once, at most.
    """

    def __init__(
        self,
        workers: int | None = None,
        address: str | None = None,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        blocks_at_a_time: int = _BLOCKS_AT_A_TIME,
    ) -> None:
        self.workers = workers
        self.address = address
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.blocks_at_a_time = blocks_at_a_time

    def score(self, work: Work[B], blocks: Iterable[B]) -> Generator[Done, None, None]:
        """Scores blocks, and yields what was done; see `patchebm.scale.engine.Engine`.

        Ray starts actors again that die, on other nodes if theirs is gone, and does their blocks again. A
        block at which they die each time is given up.

        Raises:
            ConfigError: there is no cluster, or it has no room for one worker.
            PatchebmError: what a worker raises, or Ray stopped.
        """
        with ray_session(self.address, self.workers) as cores:
            self._require_room()
            room = max(1, int(cores / self.num_cpus)) if self.num_cpus else max(1, cores)
            # Ray's own account of an error, with what it was doing, would come before the sentence.
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)
            ray.data.DataContext.get_current().enable_progress_bars = False
            remaining = iter(blocks)
            try:
                given = [ray.put(work), start_tries()]
                while (first := next(remaining, None)) is not None:
                    some = chain([first], islice(remaining, self.blocks_at_a_time - 1))
                    yield from self._round(given, some, room)
            except _ERRORS_OF_RAY as error:
                # What is wrong stands last.
                reason = str(error).strip().splitlines()[-1].strip()
                raise PatchebmError(
                    f"Ray stopped ({reason:.200}); what was scored stays: remove the cause and start again"
                ) from error

    def _round(self, given: list[Any], blocks: Iterable[Any], room: int) -> Generator[Done, None, None]:
        """Scores as many blocks as are in the shared memory of Ray at a time, and yields what was done."""
        # One by one: the driver holds one block at a time. They stay there until all of them are done, so
        # that an actor that is started again finds them.
        shared_blocks = [_put(block) for block in blocks]
        most = min(self.workers or room, len(shared_blocks))
        positions = [{"position": position} for position in range(len(shared_blocks))]
        done = ray.data.from_items(positions, override_num_blocks=len(positions)).map_batches(
            _Scorer,
            # In lists, or Ray would hand over their contents, all at once.
            fn_constructor_args=(given, shared_blocks),
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


def _put(block: Any) -> ray.ObjectRef:
    """Puts a block into the shared memory of Ray."""
    return ray.put(zlib.compress(pickle.dumps(block), level=1))


def _get(shared_block: ray.ObjectRef) -> Any:
    return pickle.loads(zlib.decompress(ray.get(shared_block)))


_MORE_MEMORY = "give each worker more memory (fewer --workers, or a larger --num-cpus)"


class _Scorer:
    """This class is an actor: it opens one engine session and scores the blocks that it is given.

    What a user can fix comes back as a row and not as an exception, which Ray would wrap and try again.

    Args:
        given: the work, and the actor that counts tries.
        blocks: of the round.
    """

    def __init__(self, given: list[Any], blocks: list[ray.ObjectRef]) -> None:
        shared_work, self._tries = given
        self._blocks = blocks
        self._unfit: str | None = None
        where = f"worker {socket.gethostname()}"
        # An actor that is started again has the same id.
        start = f"start of {ray.get_runtime_context().get_actor_id()}"
        if ray.get(self._tries.begin.remote(start)) > TRIES:
            self._unfit = (
                f"{where} died {TRIES} times when it started, for instance for want of memory; what was "
                f"scored stays: {_MORE_MEMORY} and start again"
            )
            return
        try:
            self._work: Work[Any] = ray.get(shared_work)
            self._work.check_worker(where)
        except PatchebmError as error:
            self._unfit = str(error)
        self._tries.end.remote(start)

    def __call__(self, rows: pa.Table) -> pa.Table:
        found: list[dict[str, Any]] = []
        for position in rows.column("position").to_pylist():
            try:
                found.append(asdict(self._score(position)) | {"halt": None})
            except PatchebmError as error:
                found.append(asdict(Done(0, 0, 0)) | {"halt": str(error)})
        return pa.Table.from_pylist(found, schema=_ANSWER)

    def _score(self, position: int) -> Done:
        if self._unfit is not None:
            raise PatchebmError(self._unfit)
        block = _get(self._blocks[position])
        begun = f"block {block.number}"
        if ray.get(self._tries.begin.remote(begun)) > TRIES:
            return Done(
                block.number,
                0,
                0,
                f"workers died {TRIES} times at the images {block.images}, for instance for want of memory; "
                f"what was scored stays: repair or replace the image at fault, or {_MORE_MEMORY}, and start "
                "again",
            )
        done = self._work.score(block)
        self._tries.end.remote(begun)
        return done


_ANSWER = pa.schema(
    [
        ("number", pa.int64()),
        ("images", pa.int64()),
        ("errors", pa.int64()),
        ("stop", pa.string()),
        ("halt", pa.string()),
    ]
)
