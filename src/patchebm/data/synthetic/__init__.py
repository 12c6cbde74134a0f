"""A product benchmark that is drawn, not shipped: three parts, seven defects, every picture from a seed.

`fabric` is a texture, `flange` an object and `board` an assembly. Four defects are local (a patch of the
picture looks like nothing on a good part) and three are global (every patch occurs on good parts, its place
does not).
"""

from patchebm.data.synthetic.picture import KINDS, PRODUCTS, draw
from patchebm.data.synthetic.write import write_synthetic_set

__all__ = ["KINDS", "PRODUCTS", "draw", "write_synthetic_set"]
