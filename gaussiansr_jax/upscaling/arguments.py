"""What a caller may ask an upscaler for: images, scales and sizes, checked."""

import math
from typing import Any

import numpy as np

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.memory import available_bytes
from gaussiansr_jax.ops import coordinates
from gaussiansr_jax.upscaling.tiling import Axis

MAX_SCALE = 30.0
Scale = float | tuple[float, float]
Size = tuple[int, int]
Grid = tuple[Axis, Axis]  # output pixels: rows, columns


def check_image(image: Any) -> np.ndarray:
    """`image` as uint8 or float32 [H, W, 3]; raises `UserError` if it is not one."""
    try:
        image = np.asarray(image)
    except (ValueError, TypeError) as error:
        raise UserError(f"an image must be an array of the shape [H, W, 3] ({error})") from error
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise UserError(f"an image must have the shape [H, W, 3], not {list(image.shape)}")
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise UserError(f"an image must be uint8 or float in [0, 1], not {image.dtype}")
    if not (image.min() >= 0 and image.max() <= 1):
        raise UserError("a float image must lie in [0, 1], without NaN; divide it by its maximum")
    return image.astype(np.float32, copy=False)


def as_scale(scale: Any) -> Scale | None:
    """A scale as Python numbers: from NumPy or JAX, a number or a pair (y, x).

    Raises:
      UserError: it is neither.
    """
    if scale is None:
        return None
    numbers = _numbers(scale)
    if numbers is None or len(numbers) > 2:
        raise UserError(f"scale must be a number or a pair (y, x), not {_shown(scale)}")
    return tuple(numbers) if len(numbers) == 2 else numbers[0]


def as_size(size: Any) -> Size | None:
    """A size as a pair of Python's whole numbers, from any sequence or array of two.

    Raises:
      UserError: it is not (height, width) in whole pixels.
    """
    if size is None:
        return None
    numbers = _numbers(size)
    whole = numbers is not None and len(numbers) == 2 and np.ndim(size) == 1
    if not whole or not all(math.isfinite(n) and n == int(n) and n >= 1 for n in numbers):
        raise UserError(f"size must be (height, width) in whole pixels, not {_shown(size)}")
    return int(numbers[0]), int(numbers[1])


def check_side(name: str, side: Any) -> int | None:
    """A side in pixels, or None; raises `UserError` if it is neither."""
    if side is None:
        return None
    numbers = _numbers(side)
    if numbers is None or len(numbers) != 1 or not (numbers[0] >= 1 and numbers[0] % 1 == 0):
        raise UserError(f"{name} must be a whole number of pixels above 0, not {_shown(side)}")
    return int(numbers[0])


def requested_size(lr_size: Size, scale: Scale | None, size: Size | None) -> Size:
    """The output size (height, width) that `scale` or `size` asks for.

    Raises:
      UserError: both or neither is given, or the scale is not from 1 to `MAX_SCALE`.
    """
    if (scale is None) == (size is None):
        raise UserError("give either scale or size")
    scale, size = as_scale(scale), as_size(size)
    if size is None:
        scales = _per_axis(scale)
    else:
        scales = tuple(out / lr for out, lr in zip(size, lr_size, strict=True))
    if not all(math.isfinite(s) and 1 <= s <= MAX_SCALE for s in scales):
        given = f"size {size[1]}x{size[0]}" if size else f"scale {scale}"
        raise UserError(
            f"{given} is not possible for an image of {lr_size[1]}x{lr_size[0]}: "
            f"scales go from 1 to {MAX_SCALE:g}"
        )
    return size or coordinates.output_size(lr_size, scales)


def requested_view(
    lr_size: Size,
    corner: tuple[float, float],
    view_size: Size,
    scale: Scale | None,
    size: Size | None,
) -> Grid:
    """The part of the output that a view shows.

    Args:
      lr_size: of the image.
      corner: the view's first row and column, in output pixels.
      view_size: its height and width in output pixels.
      scale: of the output, not rounded to whole output pixels.
      size: of the whole output, in place of `scale`.

    Raises:
      UserError: not such a scale or size, or the view reaches beyond the image.
    """
    scale, size = as_scale(scale), as_size(size)
    whole, slack = requested_size(lr_size, scale, size), 0
    if size is None:
        # The output's size is not rounded: pixels at its borders may lie partly outside.
        slack, scales = 1, _per_axis(scale)
        whole = tuple(lr * s for lr, s in zip(lr_size, scales, strict=True))
    else:
        scales = tuple(out / lr for out, lr in zip(size, lr_size, strict=True))
    numbers = [_numbers(value) for value in (*corner, *view_size)]
    if not all(each is not None and len(each) == 1 for each in numbers):
        raise UserError(
            "top, left, height and width of a view must be numbers, not "
            + ", ".join(_shown(value) for value in (*corner, *view_size))
        )
    top, left, height, width = (each[0] for each in numbers)
    corner, view_size = (top, left), (height, width)
    axes = tuple(map(Axis, scales, corner, view_size))
    for (_, first, count), length in zip(axes, whole, strict=True):
        inside = (
            math.isfinite(first)
            and (0 <= first or -slack < first)
            and first + count <= length + slack
        )
        if not inside or int(count) != count or count < 1:
            raise UserError(
                f"a view of {width:g}x{height:g} at ({corner[1]:g}, {corner[0]:g}) is not "
                f"inside an output of {whole[1]:g}x{whole[0]:g}"
            )
    return tuple(axis._replace(count=int(axis.count)) for axis in axes)


def check_memory(shape: tuple[int, ...], bytes_per_value: int) -> None:
    """Checks that the host can hold an output [h, w, C].

    Raises:
      UserError: it cannot.
    """
    needed, free = math.prod(shape) * bytes_per_value, available_bytes()
    if free is not None and needed > free:
        raise UserError(
            f"an output of {shape[1]}x{shape[0]} needs {needed / 2**30:.1f} GiB of memory, "
            f"{free / 2**30:.1f} GiB are free; choose a smaller scale or crop the image"
        )


def _per_axis(scale: Scale) -> tuple[float, float]:
    return scale if isinstance(scale, tuple) else (scale, scale)


def _numbers(value: Any) -> list[float] | None:
    """One or several numbers as floats; None for anything else, text included."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):  # not rectangular, or not on this host
        return None
    if array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        return None
    return array.astype(np.float64).ravel().tolist() if array.ndim < 2 and array.size else None


def _shown(value: Any) -> str:
    return " ".join(repr(value).split())[:80]
