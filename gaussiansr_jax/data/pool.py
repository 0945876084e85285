"""HR images as one array of uint8 tiles, so that all of them lie in the device's memory."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image
from tqdm import tqdm

from gaussiansr_jax.data.sources import ImageRef
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import read_rgb, read_size

NAMED = 5  # as many bad files a message names


class Pool(NamedTuple):
    """HR tiles. A tile of an image that is smaller than a tile is padded at the end with zeros.

    Attributes:
      tiles: [N, T, T, 3] uint8.
      sizes: [N, 2] valid (height, width) of each tile.
    """

    tiles: UInt8[np.ndarray | jax.Array, "N T T 3"]
    sizes: Int[np.ndarray | jax.Array, "N 2"]


def split_images(
    images: Sequence[ImageRef], val_images: int
) -> tuple[list[ImageRef], list[ImageRef]]:
    """Holds out `val_images` images, spread evenly over the list: always the same ones.

    Returns:
      training images, held-out images.

    Raises:
      UserError: no image would be left for training.
    """
    count = len(images)
    if not 0 <= val_images < count:
        raise UserError(
            f"cannot hold out val_images={val_images} of {count} images; "
            "lower val_images, or name a val_source"
        )
    held_out = {(2 * i + 1) * count // (2 * val_images) for i in range(val_images)}
    train = [image for index, image in enumerate(images) if index not in held_out]
    return train, [images[index] for index in sorted(held_out)]


def build_pool(
    images: Sequence[ImageRef], tile_size: int, min_size: int, reductions: Sequence[float] = (1.0,)
) -> Pool:
    """Reads all images, in threads, and cuts them into tiles that cover them evenly.

    Args:
      images: what to read.
      tile_size: side of a tile, T; tiles of an image overlap where its size is no multiple.
      min_size: the least height and width of an image: the largest crop that is taken.
      reductions: the factors from 1 on by which each image enters reduced, by antialiased bicubic
        interpolation. A reduced image has finer detail in each pixel and less of the noise and the
        compression of its file. Only at the least of them must an image have the least size.

    Raises:
      UserError: files that cannot be read or are too small (all of them, in one sentence), or
        too little memory.
    """
    shapes, bad = _map(lambda image: read_size(image.open()), images, "reading sizes")
    small = [
        f"{image.name} ({shape[0]}x{shape[1]})"
        for image, shape in zip(images, shapes, strict=True)
        if shape is not None and min(_reduced(shape, min(reductions))) < min_size
    ]
    _complain(bad, small, round(min_size * min(reductions)))
    # For each image, the shapes in which it enters.
    entering = [
        [size for size in (_reduced(shape, by) for by in reductions) if min(size) >= min_size]
        for shape in shapes
    ]
    counts = [sum(len(_corners(size, tile_size)) for size in sizes) for sizes in entering]
    starts = np.cumsum([0, *counts])
    try:
        # Zeroed pages are only taken when they are written to.
        tiles = np.zeros((starts[-1], tile_size, tile_size, 3), np.uint8)
    except MemoryError as error:
        raise UserError(
            f"{starts[-1] * tile_size**2 * 3 / 1e9:.1f} GB of tiles do not fit into memory; "
            "name fewer images in the source"
        ) from error
    sizes = np.zeros((starts[-1], 2), np.int32)

    def fill(index: int) -> None:
        pixels = read_rgb(images[index].open())
        if pixels.shape[:2] != shapes[index]:
            raise OSError(f"is {pixels.shape[:2]}, but its header says {shapes[index]}")
        tile = starts[index]
        for height, width in entering[index]:
            image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
            reduced = np.asarray(image)
            for y, x in _corners((height, width), tile_size):
                part = reduced[y : y + tile_size, x : x + tile_size]
                sizes[tile] = part.shape[:2]
                tiles[tile, : part.shape[0], : part.shape[1]] = part
                tile += 1

    _, bad = _map(fill, range(len(images)), "decoding images", [image.name for image in images])
    _complain(bad, [], min_size)
    return Pool(tiles, sizes)


def center_crops(images: Sequence[ImageRef], size: int) -> UInt8[np.ndarray, "N size size 3"]:
    """The middle of each image: the held-out patches on which training is judged.

    Raises:
      UserError: files that cannot be read or are smaller than the crop.
    """
    pixels, bad = _map(lambda image: read_rgb(image.open()), images, "reading held-out images")
    small = [
        f"{image.name} ({hr.shape[0]}x{hr.shape[1]})"
        for image, hr in zip(images, pixels, strict=True)
        if hr is not None and min(hr.shape[:2]) < size
    ]
    _complain(bad, small, size)
    crops = np.zeros((len(images), size, size, 3), np.uint8)
    for crop, hr in zip(crops, pixels, strict=True):
        y, x = (hr.shape[0] - size) // 2, (hr.shape[1] - size) // 2
        crop[:] = hr[y : y + size, x : x + size]
    return crops


def _reduced(shape: tuple[int, int], factor: float) -> tuple[int, int]:
    return round(shape[0] / factor), round(shape[1] / factor)


def _corners(shape: tuple[int, int], tile_size: int) -> list[tuple[int, int]]:
    """Top left corners of as few tiles as cover an image, evenly spread."""
    starts = []
    for length in shape:
        count = -(-length // tile_size)
        room = max(length - tile_size, 0)
        starts.append([round(i * room / max(count - 1, 1)) for i in range(count)])
    return [(y, x) for y in starts[0] for x in starts[1]]


def _map(
    function: Callable[[Any], Any], items: Sequence[Any], title: str, names: Any = None
) -> tuple[list[Any], list[str]]:
    """Maps in threads (Pillow decodes without the interpreter's lock), with a progress bar.

    Returns:
      the results, None for an item that failed, and the failures in words.
    """
    names = names or [getattr(item, "name", str(item)) for item in items]
    failures = []

    def attempt(index: int) -> Any:
        try:
            return function(items[index])
        # Damaged files make the decoders raise almost anything.
        except Exception as error:
            # What the decoder said, without the name of the file once more.
            failures.append((index, f"{names[index]} ({error.__cause__ or error})"))
            return None

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        results = threads.map(attempt, range(len(items)))
        pace = 0.1 if sys.stderr.isatty() else 20  # seconds; a log file needs no running bar
        bar = tqdm(results, title, len(items), False, unit="image", mininterval=pace, delay=1)
        results = list(bar)
    return results, [text for _, text in sorted(failures)]


def _complain(bad: list[str], small: list[str], size: int) -> None:
    """Raises one sentence about all the files that cannot be used."""
    parts = []
    if bad:
        parts.append(f"{_count(bad)} cannot be read: {_names(bad)}")
    if small:
        parts.append(f"{_count(small)} smaller than the crop of {size}x{size}: {_names(small)}")
    if parts:
        raise UserError("; ".join(parts) + "; remove or replace them" + _hint(small))


def _count(files: list[str]) -> str:
    return f"{len(files)} image{'s' if len(files) > 1 else ''}"


def _names(files: list[str]) -> str:
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    return ", ".join(files[:NAMED]) + more


def _hint(small: list[str]) -> str:
    return ", or lower lr_size, scale_range or val_crop" if small else ""
