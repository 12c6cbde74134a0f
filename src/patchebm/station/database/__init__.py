"""This folder holds the station's tables, the engine that they live in, and the migrations."""
