"""From energies of normal pictures that fitting never saw to comparable scores and a threshold."""
