"""This folder holds the station's HTTP: REST, pages, and what both have in common."""
