"""This module finds the model of a product among those of a fleet."""

from __future__ import annotations

from functools import cached_property

from patchebm.config.nearest import nearest
from patchebm.errors import DataError
from patchebm.scale.storage import Store

BUNDLE, RUN = "part.patchebm", "run"
"""What `patchebm fleet train` leaves in the folder of a product: the bundle and the run folder."""

_ENDING = ".patchebm"
# What lies beside the models.
_BESIDE = ("fleet.json", "fleet.html", "fleet.csv", "fleet.parquet")


class FleetModels:
    """This class is a place that holds a model for each product.

    That is `PRODUCT/part.patchebm`, as `patchebm fleet train` writes it, or `PRODUCT.patchebm`.

    Args:
        place: folder or URI.
        runs: whether `PRODUCT/run` is a model, too, where there is no bundle.

    Raises:
        DataError: the place holds no models.
        PatchebmError: its store cannot be reached or may not be read.
    """

    def __init__(self, place: str, *, runs: bool = False) -> None:
        self.store = Store(place)
        self.runs = runs
        if not self.names:
            raise DataError(f"{place} holds no models; name the folder that `patchebm fleet train` wrote")

    @cached_property
    def _there(self) -> set[str]:
        return self.store.names()

    @property
    def names(self) -> list[str]:
        """Returns the names that models may have; whether a folder holds one, `find` finds out."""
        return sorted({name.removesuffix(_ENDING) for name in self._there if name not in _BESIDE})

    def find(self, product: str) -> str:
        """Returns the path or URI of the model of a product.

        Raises:
            DataError: there is none; names the nearest that there is.
        """
        if f"{product}{_ENDING}" in self._there:
            return f"{self.store.place}/{product}{_ENDING}"
        inside = self.store.names(product) if product in self._there else set()
        for name in (BUNDLE, RUN) if self.runs else (BUNDLE,):
            if name in inside:
                return f"{self.store.place}/{product}/{name}"
        near = nearest(product, [name for name in self.names if name != product])
        raise DataError(
            f"{self.store.place} has no model of the product {product!r}{near}; train it or leave it out"
        )
