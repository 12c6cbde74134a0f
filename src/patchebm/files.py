"""This module writes files so that a reader finds the old content or the new, never a half."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchebm.errors import PatchebmError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it replaces `path`, on an exception it is removed.

    The temporary file lies in the same folder, so that the replacement is one atomic rename, and it is
    flushed to the disk before the rename, so that a power cut cannot leave an empty file behind.

    Args:
        path: file to write. Its folder is made if it does not exist.

    Raises:
        PatchebmError: the folder cannot be written or the disk is full; names the file.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        # mkstemp makes files private; a result file gets the permissions that open() would give it.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        fix = "free some space" if error.errno == errno.ENOSPC else "choose another file or folder"
        raise PatchebmError(f"cannot write {target}: {error.strerror or error}; {fix}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Writes `text` as UTF-8 to `path`, atomically. Raises PatchebmError as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_text(as_unicode(text), encoding="utf-8")


def as_unicode(text: str) -> str:
    """Returns text that can be written anywhere.

    A name of a file that is no Unicode reaches Python as lone surrogates, at which encoders, fonts and
    parsers of JSON fail; they become a backslash, `udc` and two digits.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
