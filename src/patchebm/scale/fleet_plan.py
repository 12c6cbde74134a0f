"""This module cuts the images of many products into blocks, each of one product."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from patchebm.errors import DataError
from patchebm.scale.fleet_source import FleetSource
from patchebm.scale.plan import Block, Plan, Planner
from patchebm.scale.source import Row

# Fewer and larger blocks than of one archive: a worker may have to open a model for each of them.
_PARTS, _SMALLEST = 16, 64


@dataclass(frozen=True)
class FleetBlock:
    """This class is a number of images of one product that one worker scores at a time.

    Attributes:
        number: of the block, over all products.
        product: that its images show.
        block: the images, with the number that the block has for its product.
    """

    number: int
    product: str
    block: Block

    @property
    def images(self) -> str:
        """Returns what messages call the images."""
        return self.block.images


def plans_of(source: FleetSource) -> dict[str, Plan]:
    """Returns what a source consists of for each product, in the order of names; goes through it once.

    Raises:
        DataError: it has no images.
    """
    planners: dict[str, Planner] = {}
    for product, row in source.rows():
        if product not in planners:
            planners[product] = Planner(source.carried.names, _PARTS, _SMALLEST)
        planners[product].add(row)
    if not planners:
        raise DataError(f"{source.name} has no rows; name images in it")
    return {product: planners[product].plan() for product in sorted(planners)}


def fleet_blocks(
    source: FleetSource, plans: Mapping[str, Plan], left: Mapping[str, Collection[int]]
) -> Iterator[FleetBlock]:
    """Yields the blocks that are left, with one block of each product in memory at most.

    Args:
        source: the images.
        plans: of all products.
        left: the numbers of the blocks of each product that are still to be scored; products that are not
            in it any more when it is their turn are left out.

    Raises:
        DataError: the source is not that of the plans.
    """
    parts = accumulate((plan.parts for plan in plans.values()), initial=0)
    begins = dict(zip(plans, parts, strict=False))
    waiting: dict[str, list[Row]] = {product: [] for product in plans}
    numbers = dict.fromkeys(plans, 0)
    for product, row in source.rows():
        if product not in plans or numbers[product] == plans[product].parts:
            raise _changed(source)
        waiting[product].append(row)
        number, plan = numbers[product], plans[product]
        if len(waiting[product]) == len(plan.expected(number)):
            if number in left.get(product, ()):
                block = Block(number, number * plan.block, tuple(waiting[product]), source.carried)
                yield FleetBlock(begins[product] + number, product, block)
            waiting[product] = []
            numbers[product] += 1
    if any(numbers[product] != plan.parts for product, plan in plans.items()):
        raise _changed(source)


def _changed(source: FleetSource) -> DataError:
    return DataError(f"{source.name} changed while it was read; start again")
