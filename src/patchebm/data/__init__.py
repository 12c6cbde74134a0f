"""Pictures: reading files and folders, views of them, and the built-in synthetic products."""
