"""How good a detector is: metrics, overlays and the report."""
