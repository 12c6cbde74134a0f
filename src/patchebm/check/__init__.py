"""This package says what can be known of an image set before a model is trained on it; it needs no torch."""
