"""This package draws a benchmark: three products, seven defects, every image from a seed.

`fabric` is a texture, `flange` an object and `board` an assembly. Four defects are local (a patch of the
image occurs on no good part) and three are global (every patch occurs on good parts, its place
does not).
"""

from patchebm_products.drawing import KINDS, PRODUCTS, draw
from patchebm_products.write import write_synthetic_set

__all__ = ["KINDS", "PRODUCTS", "draw", "write_synthetic_set"]
