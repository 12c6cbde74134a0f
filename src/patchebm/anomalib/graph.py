"""The model as one graph of torch operations, which anomalib's export to ONNX and OpenVINO traces."""

from __future__ import annotations

from anomalib.data import InferenceBatch
from torch import Tensor, nn

from patchebm.anomalib.metrics import squashed
from patchebm.detector import EnsembleDetector
from patchebm.export.graph import ScoringGraph


class InferenceGraph(nn.Module):
    """What `EnergyEnsembleModel` says of images, resize, backbone and both levels included.

    Args:
        detector: fitted, on features.

    Raises:
        ConfigError: the detector looks at pixels.
    """

    def __init__(self, detector: EnsembleDetector) -> None:
        super().__init__()
        self.scoring = ScoringGraph(detector)
        self.threshold = detector.threshold_.value
        self.glaring = detector.heat_high_
        self.spread = detector.heat_high_ - detector.heat_low_

    def forward(self, images: Tensor) -> InferenceBatch:
        """As `EnergyEnsembleModel.forward`, in float32 throughout."""
        scored = self.scoring(images.permute(0, 2, 3, 1))
        anomaly_map = squashed((scored.heat_map[:, None] - self.glaring) / self.spread)
        return InferenceBatch(
            pred_score=scored.score,
            pred_label=scored.score > self.threshold,
            anomaly_map=anomaly_map,
            pred_mask=anomaly_map > 0.5,
        )
