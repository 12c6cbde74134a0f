"""From a fitted detector to a verified bundle."""
