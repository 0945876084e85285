"""Which images paths name, and what the results are called."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images.formats import READABLE, WRITABLE


@dataclass(frozen=True)
class Found:
    """What is in the places that a user named.

    Attributes:
      images: each image file, and its path relative to the folder that was named.
      skipped: files whose ending is not of an image format.
    """

    images: list[tuple[Path, Path]] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)


def find(inputs: Sequence[str | os.PathLike]) -> list[Path]:
    """The image files that the paths name; folders stand for the images in them, by name.

    Raises:
      UserError: a path does not exist, or a folder holds no image.
    """
    return [file for file, _ in search(inputs).images]


def search(
    inputs: Sequence[str | os.PathLike],
    recursive: bool = False,
    leave_out: Path | None = None,
) -> Found:
    """The image files that the paths name.

    Args:
      inputs: files, and folders that stand for the images in them, by name.
      recursive: whether the folders in folders count, too.
      leave_out: a folder that does not count: the one of the results.

    Raises:
      UserError: a path does not exist, or a folder holds no image.
    """
    if not all(map(os.fspath, inputs)):
        # For pathlib this is the current folder; in truth a shell variable that is not set.
        raise UserError("the name of an input is empty; write . for the current folder")
    found = Found()
    for path in map(Path, inputs):
        if path.is_dir():
            before = len(found.images)
            for file in _files(path, recursive, leave_out.resolve() if leave_out else None):
                if file.suffix.lower() in READABLE:
                    found.images.append((file, file.relative_to(path)))
                else:
                    found.skipped.append(file)
            if len(found.images) == before:
                deeper = "" if recursive else " itself (--recursive looks into its folders)"
                raise UserError(
                    f"no images in {path}{deeper}; known endings are {', '.join(READABLE)}"
                )
        elif path.exists():
            found.images.append((path, Path(path.name)))
        else:
            raise UserError(f"no file or folder {path}; check the name")
    return found


class Names:
    """Chooses file names for results, none of them twice."""

    def __init__(self, ending: str | None = None, suffix: str = ""):
        """Ending (".png") and suffix ("-x2") of all names; by default the input's own."""
        self._ending, self._suffix = ending, suffix
        self._taken: set[str] = set()

    def plan(self, places: Sequence[Path]) -> list[Path]:
        """Names for inputs; those that keep their own name choose first."""
        names: dict[int, Path] = {}
        order = sorted(range(len(places)), key=lambda i: self._own(places[i]) != places[i].name)
        for i in order:
            names[i] = self.free(places[i].with_name(self._own(places[i])), places[i].suffix)
        return [names[i] for i in range(len(places))]

    def free(self, wanted: Path, origin: str) -> Path:
        """`wanted`; where it is taken, a name with the ending `origin` in it, or a number."""
        for name in self._choices(wanted, origin):
            # Some file systems take a.png and A.png for one.
            if str(name).casefold() not in self._taken:
                self._taken.add(str(name).casefold())
                return name
        raise AssertionError("there are infinitely many numbers")

    def _own(self, place: Path) -> str:
        ending = self._ending or place.suffix
        if ending.lower() not in WRITABLE:
            ending = ".png"
        return f"{place.stem}{self._suffix}{ending}"

    @staticmethod
    def _choices(wanted: Path, origin: str) -> Iterator[Path]:
        yield wanted
        if origin.lower() != wanted.suffix.lower():
            yield wanted.with_stem(f"{wanted.stem}-{origin[1:].lower()}")
        number = 2
        while True:
            yield wanted.with_stem(f"{wanted.stem}-{number}")
            number += 1


def _files(folder: Path, recursive: bool, leave_out: Path | None) -> Iterator[Path]:
    """Files in a folder in the order of their names, without hidden ones.

    Those are what operating systems put beside pictures.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_file():
            yield path
        elif recursive and path.is_dir() and not path.is_symlink() and path.resolve() != leave_out:
            yield from _files(path, recursive, leave_out)
