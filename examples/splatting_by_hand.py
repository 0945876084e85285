"""The mathematics of splatting on a toy field of three Gaussians, with a plot.

    python examples/splatting_by_hand.py splatting.png

It evaluates the field by the formula in NumPy, by the library at the same positions, and compares.
"""

import argparse

import jax.numpy as jnp
import numpy as np

from gaussiansr_jax.ops import splatting
from gaussiansr_jax.ops.coordinates import grid_positions, grid_queries

SIZE, SCALE = 5, 24
# LR pixel (row, column), offset of the center, standard deviations (y, x), correlation, opacity.
GAUSSIANS = (
    ((1, 1), (0.0, 0.0), (0.8, 0.4), 0.0, 1.0),
    ((2, 3), (0.3, -0.2), (0.5, 0.9), 0.6, 0.8),
    ((4, 0), (0.0, 0.4), (0.3, 0.3), 0.0, 0.6),
)


def by_hand(position):
    """f(x) = Σ α exp(-½ (x - μ)ᵀ Σ⁻¹ (x - μ)): equation of a field of Gaussians, plain NumPy."""
    value = 0.0
    for pixel, offset, sigma, rho, opacity in GAUSSIANS:
        # The library bounds correlations smoothly and keeps variances above 1e-4.
        rho = splatting.MAX_RHO * np.tanh(rho / splatting.MAX_RHO)
        variance = np.square(sigma) + splatting.MIN_VARIANCE
        covariance = np.diag(variance)
        covariance[0, 1] = covariance[1, 0] = rho * sigma[0] * sigma[1]
        d = position - (np.add(pixel, offset))
        value += opacity * np.exp(-0.5 * d @ np.linalg.inv(covariance) @ d)
    return value


def gaussians():
    """The same field as the library's struct: one Gaussian per LR pixel, most with opacity 0."""
    shape = (SIZE, SIZE, 1)
    offset, sigma = np.zeros((*shape, 2)), np.ones((*shape, 2))
    rho, opacity = np.zeros(shape), np.zeros(shape)
    for pixel, *values in GAUSSIANS:
        offset[pixel], sigma[pixel], rho[pixel], opacity[pixel] = values
    value = np.ones((*shape, 1))
    arrays = (jnp.asarray(a, jnp.float32) for a in (offset, sigma, rho, opacity, value))
    return splatting.Gaussians(*arrays)


def main() -> None:
    """Compares and plots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    args = parser.parse_args()

    positions = grid_positions(SIZE * SCALE, SCALE)
    queries = grid_queries(positions, positions).reshape(-1, 2)
    footprint = jnp.zeros(2)  # of the output pixel: none, the plain formula
    dense = splatting.splat_dense(gaussians(), queries, footprint)[:, 0]
    fast = splatting.splat(gaussians(), queries, footprint, radius=3)[:, 0]
    some = np.random.default_rng(0).choice(len(queries), 200, replace=False)
    expected = np.array([by_hand(np.asarray(queries[i], np.float64)) for i in some])
    print(f"dense against the formula: {np.abs(dense[some] - expected).max():.1e}")
    print(f"window of 7x7 against dense: {np.abs(fast - dense).max():.1e}")

    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.2), layout="constrained")
    axes = figure.subplots()
    limits = (-0.5, SIZE - 0.5, SIZE - 0.5, -0.5)
    shown = axes.imshow(dense.reshape(SIZE * SCALE, -1), extent=limits, cmap="magma")
    axes.set(xlabel="x in LR pixels", ylabel="y in LR pixels", title="three Gaussians")
    figure.colorbar(shown)
    figure.savefig(args.output, dpi=120)
    print(args.output)


if __name__ == "__main__":
    main()
