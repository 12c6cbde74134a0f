"""This package shows figures and images on pages and in the terminal."""
