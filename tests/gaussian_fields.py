"""Random Gaussians for tests of the splatting."""

import jax
import jax.numpy as jnp

from gaussiansr_jax.ops import splatting

HEIGHT, WIDTH = 6, 5
FOOTPRINT = jnp.array([0.2, 0.1])


def random_field(seed=0, count=2, channels=3, sigma=(0.1, 0.5)):
    """Gaussians on a HEIGHT × WIDTH grid."""
    keys = jax.random.split(jax.random.key(seed), 5)
    shape = (HEIGHT, WIDTH, count)
    return splatting.Gaussians(
        offset=jax.random.uniform(keys[0], (*shape, 2), minval=-0.5, maxval=0.5),
        sigma=jax.random.uniform(keys[1], (*shape, 2), minval=sigma[0], maxval=sigma[1]),
        rho=jax.random.normal(keys[2], shape),
        opacity=jax.random.uniform(keys[3], shape, minval=0.1),
        value=jax.random.normal(keys[4], (*shape, channels)),
    )
