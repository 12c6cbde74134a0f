"""Where chains start, where they are kept, and how they move."""

from patchebm.sampling.buffer import ReplayBuffer
from patchebm.sampling.corrupt import corrupt
from patchebm.sampling.moves import PYLD, SGLD, ChainLog, Sampler
from patchebm.sampling.start import CorruptedStart, InformativeStart, NoisedStart, Start, UniformStart

__all__ = [
    "PYLD",
    "SGLD",
    "ChainLog",
    "CorruptedStart",
    "InformativeStart",
    "NoisedStart",
    "ReplayBuffer",
    "Sampler",
    "Start",
    "UniformStart",
    "corrupt",
]
