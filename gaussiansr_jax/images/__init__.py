"""Image files in and out."""

from gaussiansr_jax.images.decoding import Picture
from gaussiansr_jax.images.files import (
    READABLE,
    WRITABLE,
    bleed_colors,
    check_writable,
    find,
    read,
    read_rgb,
    resize_alpha,
    suitable_name,
    write,
)

__all__ = [
    "READABLE",
    "WRITABLE",
    "Picture",
    "bleed_colors",
    "check_writable",
    "find",
    "read",
    "read_rgb",
    "resize_alpha",
    "suitable_name",
    "write",
]
