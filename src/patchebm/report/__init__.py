"""Pages that show figures and images."""
