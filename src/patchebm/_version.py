"""The version, in one place: the package, its model files and its wheels all read it here."""

__version__ = "0.1.0"
