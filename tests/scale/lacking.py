"""A product whose work needs what no machine has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from patchebm.scale.trained_product import TrainedProduct


class LackingProduct(TrainedProduct):
    needs: ClassVar[Sequence[str]] = ("a_module_that_nobody_has",)
