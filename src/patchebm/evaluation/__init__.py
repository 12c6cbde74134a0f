"""This package measures how good a detector is."""
