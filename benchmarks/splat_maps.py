"""Draws docs/images/splat-maps.png: one feature channel splatted by both rasters.

python benchmarks/splat_maps.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
from PIL import Image, ImageDraw

from gaussiansr_jax.ops import official_raster, splatting
from gaussiansr_jax.ops.coordinates import grid_positions, grid_queries
from gaussiansr_jax.ops.resampling import resize

LR, SIDE, GAP = 28, 336, 8  # LR pixels, pixels of a panel, pixels between panels
SIGMA, OPACITY = {"official": 1.6, "field": 0.7}, 0.731  # the means of the initial banks


def official_map(lr: jax.Array, scale: int) -> jax.Array:
    """The map [LR·scale, LR·scale] of the official raster."""
    kernel = jnp.array([SIGMA["official"], SIGMA["official"], 0.0, OPACITY])
    kernels = jnp.broadcast_to(kernel, (official_raster.TILE, official_raster.TILE, 4))
    return official_raster.splat(lr[None], kernels, float(scale))[0, :, :, 0]


def field_map(lr: jax.Array, scale: int) -> jax.Array:
    """The map of the field."""
    gaussians = splatting.Gaussians(
        offset=jnp.zeros((LR, LR, 1, 2)),
        sigma=jnp.full((LR, LR, 1, 2), SIGMA["field"]),
        rho=jnp.zeros((LR, LR, 1)),
        opacity=jnp.full((LR, LR, 1), OPACITY),
        value=lr[:, :, None],
    )
    positions = grid_positions(LR * scale, float(scale))
    queries = grid_queries(positions, positions).reshape(-1, 2)
    splatted = splatting.splat(gaussians, queries, jnp.zeros(2), radius=3)
    return splatted.reshape(LR * scale, LR * scale)


def main() -> None:
    """Draws the picture and prints how much of each map is empty."""
    photo = jnp.asarray(skimage.data.camera(), jnp.float32)[40:264, 120:344, None] / 255
    lr = resize(photo, (LR, LR))
    step = SIDE + GAP
    sheet = Image.new("L", (2 * step - GAP, 2 * (step + 16) - GAP), 255)
    draw = ImageDraw.Draw(sheet)
    for row, scale in enumerate((4, 12)):
        for column, (name, make) in enumerate((("official", official_map), ("field", field_map))):
            splatted = np.asarray(make(lr, scale))
            print(f"{name} x{scale}: {np.mean(splatted == 0):.0%} of the map is zero")
            pixels = np.uint8(255 * splatted / splatted.max())
            panel = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            corner = (column * step, row * (step + 16))
            draw.text(corner, f"{name} x{scale}", fill=0)
            sheet.paste(panel, (corner[0], corner[1] + 14))
    target = Path(__file__).parents[1] / "docs" / "images" / "splat-maps.png"
    sheet.save(target, optimize=True)


if __name__ == "__main__":
    main()
