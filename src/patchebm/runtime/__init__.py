"""What scores an exported model and turns level scores into a prediction; no torch."""
