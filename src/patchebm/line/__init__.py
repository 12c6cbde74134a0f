"""This folder scores images as a camera writes them and records results; it needs no torch."""
