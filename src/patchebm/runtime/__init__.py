"""This folder turns scores into predictions and runs exported models; it needs no torch."""
