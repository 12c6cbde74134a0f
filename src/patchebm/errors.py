"""This module holds the errors that a user can fix.

Every message is one sentence that names the file or the field and says what to do about it. The command
line prints it without a traceback and exits with status 2; from Python they are ordinary exceptions.
"""


class PatchebmError(Exception):
    """This is the base of all errors that come from input rather than from a bug."""


class ImageError(PatchebmError):
    """An image cannot be read or does not fit what it is used for."""


class DataError(PatchebmError):
    """A folder of images does not have the layout or the content that is needed."""


class ConfigError(PatchebmError):
    """A configuration has an unknown key or a value that cannot work."""


class ModelFileError(PatchebmError):
    """A model file is missing, truncated, altered or of another version."""


class TrainingError(PatchebmError):
    """Training cannot go on: the energy diverged for good, or there is no room for a checkpoint."""


class DivergedError(TrainingError):
    """An energy diverged for good.

    Args:
        message: says what to do about it.
        rollbacks: how often the training went back to an earlier state before it was given up.
    """

    def __init__(self, message: str, *, rollbacks: int = 0) -> None:
        super().__init__(message)
        self.rollbacks = rollbacks


class ExportError(PatchebmError):
    """An exported model would not score as the one that it was exported from."""
