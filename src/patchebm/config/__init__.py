"""What a run is made of, and the files and options that say so; no torch."""
