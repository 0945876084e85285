"""A model small enough for tests of what surrounds models."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np

from gaussiansr_jax import models, weights

CONFIG = {
    "encoder": {"name": "edsr-baseline", "channels": 8, "blocks": 1},
    "head": {"name": "gaussiansr", "kernels": 9, "splat_channels": 4, "window": 3, "hidden": 16},
    "dtype": "float32",
}


@functools.cache
def params():
    return init(CONFIG)


def init(config):
    """Random parameters, made by numpy: compiling `init` would take longer than most tests."""
    return jax.tree.map(np.copy, _init(json.dumps(config)))


@functools.cache
def _init(config):
    config = json.loads(config)
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    shapes = jax.eval_shape(models.build(config).init, jax.random.key(0), image)["params"]
    rng = np.random.default_rng(0)

    def parameter(path, leaf):
        name = path[-1].key
        if name == "kernel":
            return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape).astype(np.float32)
        low, high = {"bias": (-0.1, 0.1), "rho": (-0.5, 0.5)}.get(name, (0.3, 0.8))
        return np.asarray(rng.uniform(low, high, leaf.shape), np.float32)

    return jax.tree_util.tree_map_with_path(parameter, shapes)


def save(path, config=CONFIG):
    weights.save(path, params(), config, {"steps": 0})
    return path


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
