"""Writing files so that a crash, a full disk or a second process leaves no half-written one."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gaussiansr_jax.errors import UserError

# Error numbers of a full disk, and of limits for this user or this process.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: str | os.PathLike, overwrite: bool = True) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what is there at the end is renamed to `path`.

    Args:
      path: the file to be written; its folder is created if missing.
      overwrite: whether an existing file may be replaced.

    Raises:
      UserError: the file exists and may not be replaced, or it cannot be written.
    """
    path = Path(path)
    refuse_existing(path, overwrite)
    # The suffix stays the last one, because image libraries choose the format by it.
    temporary = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        # Checked again: a file may have been created there in the meantime.
        refuse_existing(path, overwrite)
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        way_out = "make room" if error.errno in FULL else "choose another place"
        raise UserError(f"cannot write {path}: {reason}; {way_out}") from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raises `UserError` if `path` is a folder, or exists and `overwrite` is false."""
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a folder; name a file")
    if not overwrite and path.exists():
        raise UserError(f"{path} exists already; pass --overwrite to replace it")
