"""A model that ships: one verified file, and a runtime that needs no torch."""
