"""Fitting an energy's network: pushed down on data, up on the ends of chains."""
