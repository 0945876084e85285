"""Image files in and out."""

from gaussiansr_jax.images.formats import READABLE, WRITABLE
from gaussiansr_jax.images.picture import Picture, bleed_colors, resize_alpha
from gaussiansr_jax.images.reading import find, read, read_rgb, read_size
from gaussiansr_jax.images.writing import check_writable, suitable_name, write

__all__ = [
    "READABLE",
    "WRITABLE",
    "Picture",
    "bleed_colors",
    "check_writable",
    "find",
    "read",
    "read_rgb",
    "read_size",
    "resize_alpha",
    "suitable_name",
    "write",
]
