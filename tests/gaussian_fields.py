"""Random Gaussians for tests of the splatting, and the splatting as compiled programs.

Made by numpy: operations that JAX executes one by one are compiled one by one.
"""

import jax
import jax.numpy as jnp
import numpy as np

from gaussiansr_jax.ops import splatting

HEIGHT, WIDTH = 6, 5
FOOTPRINT = jnp.array([0.2, 0.1])

splat_dense = jax.jit(splatting.splat_dense, static_argnums=3)
splat = jax.jit(splatting.splat, static_argnums=(3, 4))
splat_grid = jax.jit(splatting.splat_grid, static_argnums=(4, 5))


def random_field(seed=0, count=2, channels=3, sigma=(0.1, 0.5)):
    """Gaussians on a HEIGHT × WIDTH grid."""
    rng, shape = np.random.default_rng(seed), (HEIGHT, WIDTH, count)
    field = splatting.Gaussians(
        offset=rng.uniform(-0.5, 0.5, (*shape, 2)),
        sigma=rng.uniform(*sigma, (*shape, 2)),
        rho=rng.normal(size=shape),
        opacity=rng.uniform(0.1, 1, shape),
        value=rng.normal(size=(*shape, channels)),
    )
    return splatting.Gaussians(*(v.astype(np.float32) for v in field))
