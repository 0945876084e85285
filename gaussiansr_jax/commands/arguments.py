"""What `--scale` and `--size` mean."""

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.upscaling.arguments import MAX_SCALE


def parse(scale: str | None, size: str | None) -> dict:
    """The arguments of `Upscaler.upscale` that `--scale` and `--size` mean.

    Raises:
      UserError: not numbers, or a scale out of range.
    """
    try:
        if size is not None:
            width, height = (int(part) for part in size.lower().split("x"))
            return {"size": (height, width)}
        numbers = [float(part) for part in scale.lower().split("x")]
        horizontal, vertical = numbers * 2 if len(numbers) == 1 else numbers
    except ValueError:
        wanted = "--scale 3.7 or --scale 2x3" if size is None else "--size 1920x1080"
        raise UserError(f"{size or scale!r} is not understood; write it like {wanted}") from None
    if not all(1 <= s <= MAX_SCALE for s in (horizontal, vertical)):
        raise UserError(f"--scale {scale} is out of range: scales go from 1 to 30")
    return {"scale": vertical if vertical == horizontal else (vertical, horizontal)}
