"""Image files in folders and ZIP archives, by relative names, and whether they can be decoded."""

import io
import os
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from gaussiansr_jax.data.sources import folder_paths
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import READABLE, read_rgb

# PNG and JPEG, which every reader of a data set supports; other formats become PNG.
_KEPT = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


class Entry(NamedTuple):
    """An image file.

    Attributes:
      name: relative to what was given.
      read: gives its bytes.
    """

    name: str
    read: Callable[[], bytes]


class Checked(NamedTuple):
    """An image file that was read.

    Attributes:
      name: of the entry.
      data: a PNG or JPEG file; None if it cannot be decoded.
      reason: why it cannot be decoded.
    """

    name: str
    data: bytes | None
    reason: str = ""


def list_entries(path: str | os.PathLike) -> list[Entry]:
    """The image files in a folder (with subfolders) or a ZIP archive, sorted by name.

    Raises:
      UserError: neither exists there, the archive is damaged, or no image is in it.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        return [Entry(str(file.relative_to(path)), file.read_bytes) for file in folder_paths(path)]
    if not path.is_file():
        raise UserError(f"there is no folder or archive {path}; check the name")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"cannot read {path} as a ZIP archive ({error}); download it again, or unpack it and "
            "give the folder"
        ) from error
    names = [name for name in archive.namelist() if _is_image(name)]
    if not names:
        raise UserError(f"the archive {path} holds no image; files ending in {_endings()} are read")
    return [Entry(name, partial(archive.read, name)) for name in sorted(names)]


def checked(entries: Sequence[Entry]) -> Iterator[Checked]:
    """Reads and decodes files in threads, a few in advance; yields them in the given order."""
    threads, waiting = os.cpu_count() or 1, deque()
    with ThreadPoolExecutor(threads) as executor:
        for entry in entries:
            waiting.append(executor.submit(_check, entry))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _check(entry: Entry) -> Checked:
    try:
        data = entry.read()
        rgb = read_rgb(io.BytesIO(data))
    # Damaged files make archives and decoders raise almost anything.
    except Exception as error:
        return Checked(entry.name, None, str(error.__cause__ or error) or repr(error))
    if not data.startswith(_KEPT):
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, "PNG")
        data = file.getvalue()
    return Checked(entry.name, data)


def _is_image(name: str) -> bool:
    path = Path(name)
    # __MACOSX holds files that macOS adds to archives.
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in READABLE and not hidden


def _endings() -> str:
    return " ".join(sorted(READABLE))
