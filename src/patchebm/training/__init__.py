"""Fitting an energy's network: its energy is pushed down on normal views and up on negatives."""
