"""Folders that a process fills under another name until they are whole, and on the disk."""

import errno
import fcntl
import os
from pathlib import Path

LOCK = ".lock"
"""Held in a folder that is being filled: it tells it from one that a killed process left."""


def is_held(folder: Path) -> bool:
    """Whether a living process fills it."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def sync(path: Path) -> None:
    """Bring a file, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems cannot sync a directory
            raise
    finally:
        os.close(handle)
