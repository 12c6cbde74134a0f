"""The ensemble as a model of anomalib: its Engine, command line, evaluator, visualiser and exports.

    anomalib train --model patchebm.anomalib.EnergyEnsemble --data anomalib.data.Folder \\
      --data.name flange --data.root flange --data.normal_dir train/good --data.abnormal_dir test/dent

Needs the extra `anomalib` and a torchvision that fits the installed torch.
"""

from __future__ import annotations

from patchebm.anomalib.lightning_model import EnergyEnsemble
from patchebm.anomalib.torch_model import EnergyEnsembleModel

__all__ = ["EnergyEnsemble", "EnergyEnsembleModel"]
