"""This module finds the package that draws the synthetic products; it is none of patchebm's dependencies."""

from __future__ import annotations

from types import ModuleType

from patchebm.errors import ConfigError


def drawn_products() -> ModuleType:
    """Returns the package `patchebm_products`.

    Raises:
        ConfigError: it is not installed; says how.
    """
    try:
        import patchebm_products
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the demo draws its images with {error.name}, which is not installed; from a clone of patchebm "
            "run `pip install ./products`"
        ) from error
    return patchebm_products
