"""This folder holds what the station does, as plain functions of a database session."""
