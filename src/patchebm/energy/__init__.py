"""What normal means: energies E(x), low for normal, with p(x) proportional to exp(-E(x))."""

from patchebm.energy.base import Energy
from patchebm.energy.cells import CellsEnergy
from patchebm.energy.gaussian import GaussianEnergy
from patchebm.energy.mixture import MixtureEnergy
from patchebm.energy.residual import ResidualEnergy
from patchebm.energy.tilted import TiltedEnergy
from patchebm.energy.whitened import WhitenedEnergy
from patchebm.energy.whitening import Whitening
from patchebm.energy.wrn import WideResNetEnergy

__all__ = [
    "CellsEnergy",
    "Energy",
    "GaussianEnergy",
    "MixtureEnergy",
    "ResidualEnergy",
    "TiltedEnergy",
    "WhitenedEnergy",
    "Whitening",
    "WideResNetEnergy",
]
