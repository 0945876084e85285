"""What a training run carries from step to step: flat vectors, and the names behind them."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

AXIS = "data"


@struct.dataclass
class TrainState:
    """The state of training. All parameters lie in one vector each.

    One vector means one all-reduce of the gradient, and Adam, clipping and the moving average in a
    few kernels instead of a few for each of a hundred small arrays. `Layout` gives the names back.

    Attributes:
      step: steps done.
      params: [P] parameters.
      ema: [P] their moving average: what is validated and exported.
      opt_state: of the optimizer, on [P].
    """

    step: Int[Array, ""]
    params: Float[Array, "P"]
    ema: Float[Array, "P"]
    opt_state: optax.OptState


class Layout:
    """The parameters' tree <-> vector.

    Args:
      params: a tree of the parameters, or of their shapes as `jax.eval_shape` gives them.

    Attributes:
      size: number P of parameters.
    """

    def __init__(self, params: Any):
        leaves, self._structure = jax.tree.flatten(params)
        self._shapes = [leaf.shape for leaf in leaves]
        self._sizes = [math.prod(shape) for shape in self._shapes]
        self.size = sum(self._sizes)
        self._differentiable = jax.custom_vjp(self._split)
        self._differentiable.defvjp(lambda vector: (self._split(vector), None), self._write)

    def unravel(self, vector: Float[Array, "P"]) -> Any:
        """Parameters by name, inside a compiled program.

        The gradient is not that of `ravel_pytree`, a concatenation of a hundred leaves: XLA's
        kernel searched for the leaf of each element, and was the longest of a training step. Here
        each leaf is written where it belongs.
        """
        return self._differentiable(vector)

    def to_tree(self, vector: Float[Array, "P"]) -> Any:
        """Parameters by name, as separate numpy arrays."""
        parts = np.split(np.array(vector), np.cumsum(self._sizes)[:-1])
        return self._structure.unflatten(
            part.reshape(shape).copy() for part, shape in zip(parts, self._shapes, strict=True)
        )

    @staticmethod
    def to_vector(tree: Any) -> np.ndarray:
        """The inverse of `to_tree`."""
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

    def _split(self, vector: Float[Array, "P"]) -> Any:
        parts = jax.lax.split(vector, self._sizes)
        return self._structure.unflatten(
            part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)
        )

    def _write(self, _: None, gradient: Any) -> tuple[Float[Array, "P"]]:
        leaves, start = jax.tree.leaves(gradient), 0
        whole = jnp.zeros(self.size, leaves[0].dtype)
        for leaf in leaves:
            whole = jax.lax.dynamic_update_slice(whole, leaf.ravel(), (start,))
            start += leaf.size
        return (whole,)


def create(params: Any, optimizer: optax.GradientTransformation) -> tuple[TrainState, Layout]:
    """The state before the first step, on the host, and the layout of its vectors."""
    layout = Layout(params)
    vector = layout.to_vector(params)
    opt_state = jax.jit(optimizer.init)(vector)
    state = TrainState(step=np.int32(0), params=vector, ema=vector, opt_state=opt_state)
    return jax.tree.map(np.array, state), layout


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
    """A copy of each array on each of this host's devices, as `pmap` with `in_axes=None` wants."""
    sharding = NamedSharding(Mesh(np.array(devices), (AXIS,)), PartitionSpec())

    def copies(leaf: Any) -> jax.Array:
        # The state is donated to the step, so no two devices may share memory, or have the
        # caller's. jax 0.10 on CPUs takes an aligned array as it is, even with may_alias=False.
        parts = [jax.device_put(np.array(leaf), device) for device in devices]
        return jax.make_array_from_single_device_arrays(np.shape(leaf), sharding, parts)

    return jax.tree.map(copies, tree)


def local(tree: Any) -> Any:
    """The copies on this host's first device."""
    return jax.tree.map(lambda x: x.addressable_data(0), tree)
