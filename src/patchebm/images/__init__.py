"""This folder reads image files and folders of them; it needs no torch."""
