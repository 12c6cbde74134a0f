"""Image files and folders of them; no torch."""
