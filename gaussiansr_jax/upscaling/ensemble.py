"""Self-ensemble: the mean over the reflections of an image, as EDSR has it (arXiv 1707.02921)."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gaussiansr_jax.upscaling import arguments
from gaussiansr_jax.upscaling.arguments import Scale, Size
from gaussiansr_jax.upscaling.engine import Engine
from gaussiansr_jax.upscaling.prepared import KEPT_FIELD_BYTES, Prepared


class Reflection(NamedTuple):
    """One of the eight symmetries of the pixel grid.

    Attributes:
      transposed: whether rows and columns are exchanged, before anything else.
      rows: -1 if the order of the rows is reversed, else 1.
      columns: likewise.
    """

    transposed: bool
    rows: int
    columns: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """The reflected image [H, W, C] or [W, H, C]."""
        image = image.swapaxes(0, 1) if self.transposed else image
        return image[:: self.rows, :: self.columns]

    def undone(self, image: np.ndarray) -> np.ndarray:
        """The image before the reflection."""
        image = image[:: self.rows, :: self.columns]
        return image.swapaxes(0, 1) if self.transposed else image

    def of_pair(self, value: Any) -> Any:
        """A pair (vertical, horizontal) in the reflected image's order; anything else unchanged."""
        return value[::-1] if self.transposed and isinstance(value, tuple) else value


REFLECTIONS = [Reflection(*each) for each in itertools.product((False, True), (1, -1), (1, -1))]


class Ensemble:
    """As `Prepared`; the result is the mean over eight reflections, for eight times the work."""

    def __init__(self, engine: Engine, image: Any):
        """Checks the image; encodes nothing yet."""
        image = arguments.check_image(image)
        self._as_uint8 = image.dtype == np.uint8
        # The mean is taken before rounding.
        image = image.astype(np.float32) / 255 if self._as_uint8 else image
        self._lr_size = image.shape[:2]
        kept = KEPT_FIELD_BYTES // len(REFLECTIONS)
        self._members = [(each, Prepared(engine, each.of(image), kept)) for each in REFLECTIONS]

    def encode(self) -> "Ensemble":
        """Encodes the reflections now, and keeps the result if it fits the device comfortably."""
        for _, member in self._members:
            member.encode()
        return self

    def render(self, scale: Scale | None = None, *, size: Size | None = None) -> np.ndarray:
        """The image at one scale or size; arguments, result and errors as `Upscaler.upscale`."""
        scale, size = arguments.as_scale(scale), arguments.as_size(size)
        shape = (*arguments.requested_size(self._lr_size, scale, size), 3)
        # The sum, one member, and the rounded result.
        arguments.check_memory(shape, 2 * np.float32().nbytes + self._as_uint8)
        return self._mean(
            shape,
            lambda reflection, member: member.render(
                reflection.of_pair(scale), size=reflection.of_pair(size)
            ),
        )

    def render_view(
        self,
        top: float,
        left: float,
        height: int,
        width: int,
        scale: Scale | None = None,
        *,
        size: Size | None = None,
    ) -> np.ndarray:
        """A part of the image; arguments, result and errors as `Prepared.render_view`."""
        scale, size = arguments.as_scale(scale), arguments.as_size(size)
        view = arguments.requested_view(self._lr_size, (top, left), (height, width), scale, size)
        shape = (view[0].count, view[1].count, 3)
        arguments.check_memory(shape, 2 * np.float32().nbytes + self._as_uint8)
        whole = size or tuple(lr * axis.scale for lr, axis in zip(self._lr_size, view, strict=True))
        # Where the view begins along each axis, in the given order (1) and in reverse (-1).
        begins = tuple(
            {1: axis.first, -1: length - axis.first - axis.count}
            for length, axis in zip(whole, view, strict=True)
        )

        def render(reflection: Reflection, member: Prepared) -> np.ndarray:
            rows, columns = reflection.of_pair(begins)
            return member.render_view(
                rows[reflection.rows],
                columns[reflection.columns],
                *reflection.of_pair(shape[:2]),
                reflection.of_pair(scale),
                size=reflection.of_pair(size),
            )

        return self._mean(shape, render)

    def _mean(
        self,
        shape: tuple[int, int, int],
        render: Callable[[Reflection, Prepared], np.ndarray],
    ) -> np.ndarray:
        """The mean over the reflections, each undone; uint8 or float32, as the image."""
        mean = np.zeros(shape, np.float32)
        for reflection, member in self._members:
            mean += reflection.undone(render(reflection, member))
        mean /= len(self._members)
        if not self._as_uint8:
            return mean
        mean *= 255
        return np.rint(mean, out=mean).astype(np.uint8)
