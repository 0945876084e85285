"""Small images of a batch are encoded several at once: faster than one by one."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gaussiansr_jax import images
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.memory import is_out_of_memory
from gaussiansr_jax.upscaling import sheets
from gaussiansr_jax.upscaling.upscaler import Upscaler


class GroupedUpscaler:
    """`Upscaler.upscale` for the files of a batch; small images are encoded in groups."""

    def __init__(self, upscaler: Upscaler, waiting: dict[int, tuple[Path, tuple[int, int]]]):
        """Chooses the groups.

        Args:
          upscaler: the model.
          waiting: the files that may be grouped, by their index: path and (height, width).
        """
        self._upscaler = upscaler
        self._waiting = waiting
        small = [i for i, (_, size) in waiting.items() if sheets.suitable(upscaler.engine, size)]
        sizes = [waiting[index][1] for index in small]
        self._groups = [
            [small[i] for i in group]
            for group in sheets.group(sizes)
            if sheets.worthwhile([sizes[i] for i in group])
        ]
        self._group_of = {index: group for group in self._groups for index in group}
        self._sheet: sheets.Sheet | None = None
        self._members: list[int] = []

    def order(self, count: int) -> list[int]:
        """The indices of `count` files, those of a group one after the other."""
        rest = [index for index in range(count) if index not in self._group_of]
        return [index for group in self._groups for index in group] + rest

    def upscale(self, index: int, image: np.ndarray, **target: Any) -> np.ndarray:
        """`Upscaler.upscale` of an image that is the content of the file of this index."""
        if index in self._group_of and index not in self._members:
            self._encode(self._group_of[index])
        if self._sheet is not None and index in self._members:
            place = self._members.index(index)
            # The file may have been written to since.
            if np.array_equal(self._sheet.images[place], image):
                return self._sheet.prepared(place).render(**target)
        return self._upscaler.upscale(image, **target)

    def _encode(self, group: list[int]) -> None:
        self._sheet, self._members, pixels = None, [], []
        for index in group:
            del self._group_of[index]
            file, size = self._waiting[index]
            with suppress(UserError):  # reported when it is this file's turn
                rgb = images.bleed_colors(images.read(file)).rgb
                if rgb.shape[:2] == size:
                    pixels.append(rgb)
                    self._members.append(index)
        try:
            self._sheet = sheets.Sheet(self._upscaler.engine, pixels) if pixels else None
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._members = []  # one by one they need less
