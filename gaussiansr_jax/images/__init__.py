"""Image files in and out."""

from gaussiansr_jax.images.finding import Names, find, search
from gaussiansr_jax.images.formats import READABLE, WRITABLE
from gaussiansr_jax.images.picture import Picture, bleed_colors, resize_alpha
from gaussiansr_jax.images.reading import UnreadableImage, read, read_frames, read_rgb, read_size
from gaussiansr_jax.images.whole import is_whole
from gaussiansr_jax.images.writing import check_writable, suitable_name, write

__all__ = [
    "READABLE",
    "WRITABLE",
    "Names",
    "Picture",
    "UnreadableImage",
    "bleed_colors",
    "check_writable",
    "find",
    "is_whole",
    "read",
    "read_frames",
    "read_rgb",
    "read_size",
    "resize_alpha",
    "search",
    "suitable_name",
    "write",
]
