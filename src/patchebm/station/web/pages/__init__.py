"""This folder holds the pages; each module has a `router` that `web.app` includes."""
