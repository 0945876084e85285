"""What `--scale`, `--size`, `--width`, `--height` and `--fit` mean."""

import argparse
from dataclasses import dataclass

from gaussiansr_jax import images
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.upscaling.arguments import MAX_SCALE

_LONGEST = max(kind.longest for kind in images.WRITABLE.values())
_STRETCHED = 0.01  # relative difference of the two scales above which there is a note


@dataclass(frozen=True)
class Target:
    """How large results are to be; exactly one attribute is set.

    Attributes:
      scale: one factor, or (vertical, horizontal).
      size: height and width.
      box: height and width within which the result is to fit, either of them None for any.
    """

    scale: float | tuple[float, float] | None = None
    size: tuple[int, int] | None = None
    box: tuple[int | None, int | None] | None = None

    def of(self, lr_size: tuple[int, int]) -> dict:
        """The arguments of `Upscaler.upscale` for an image of a size (height, width)."""
        if self.box is None:
            return {"scale": self.scale} if self.size is None else {"size": self.size}
        room = [
            wanted / length
            for wanted, length in zip(self.box, lr_size, strict=True)
            if wanted is not None
        ]
        return {"size": tuple(max(1, round(length * min(room))) for length in lr_size)}

    def note(self, lr_size: tuple[int, int]) -> str | None:
        """What there is to say of an image's proportions."""
        if self.size is None:
            return None
        vertical, horizontal = (out / lr for out, lr in zip(self.size, lr_size, strict=True))
        if abs(vertical / horizontal - 1) <= _STRETCHED:
            return None
        size = f"{self.size[1]}x{self.size[0]}"
        return (
            f"--size {size} stretches it, x{horizontal:.3g} in width and x{vertical:.3g} in "
            f"height; --fit {size} keeps its proportions"
        )


def add_target(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments, of which one is needed."""
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--scale", help="factor from 1 to 30, or two: HORIZONTALxVERTICAL")
    target.add_argument("--size", metavar="WIDTHxHEIGHT", help="size of the output in pixels")
    target.add_argument("--width", help="width of the output in pixels; the height follows")
    target.add_argument("--height", help="height of the output in pixels; the width follows")
    target.add_argument(
        "--fit", metavar="WIDTHxHEIGHT", help="the largest size within this one, not stretched"
    )


def target_of(args: argparse.Namespace) -> Target:
    """What the arguments of `add_target` mean.

    Raises:
      UserError: not numbers, or a scale out of range.
    """
    if args.fit is not None:
        return Target(box=_size(args.fit, "--fit"))
    if args.width is not None:
        return Target(box=(None, _length(args.width, "--width")))
    if args.height is not None:
        return Target(box=(_length(args.height, "--height"), None))
    return Target(**parse(args.scale, args.size))


def parse(scale: str | None, size: str | None) -> dict:
    """The arguments of `Upscaler.upscale` that `--scale` and `--size` mean.

    Raises:
      UserError: not numbers, or a scale out of range.
    """
    if size is not None:
        return {"size": _size(size, "--size")}
    try:
        numbers = [float(part) for part in scale.lower().split("x")]
        horizontal, vertical = numbers * 2 if len(numbers) == 1 else numbers
    except ValueError:
        raise UserError(
            f"{scale!r} is not valid; write it like --scale 3.7 or --scale 2x3"
        ) from None
    if not all(1 <= s <= MAX_SCALE for s in (horizontal, vertical)):
        raise UserError(f"--scale {scale} is out of range: scales go from 1 to {MAX_SCALE:g}")
    return {"scale": vertical if vertical == horizontal else (vertical, horizontal)}


def _size(text: str, option: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if min(width, height) < 1:
        raise UserError(f"{text!r} is not valid; write it like {option} 1920x1080")
    return _possible(height, option), _possible(width, option)


def _length(text: str, option: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{text!r} is not valid; write it like {option} 1920")
    return _possible(int(text), option)


def _possible(length: int, option: str) -> int:
    if length > _LONGEST:
        raise UserError(f"{option} {length} is out of range: no image is longer than {_LONGEST}")
    return length
