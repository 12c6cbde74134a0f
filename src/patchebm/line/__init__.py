"""Images as a camera delivers them, results as a line takes them; no torch."""
