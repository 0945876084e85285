"""What a training run carries from step to step: flat vectors, and the names behind them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.flatten_util import ravel_pytree
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


@struct.dataclass
class Layout:
    """The parameters' tree <-> vector.

    Attributes:
      size: number P of parameters.
      unravel: [P] -> tree; differentiable, its transpose writes each leaf to its place.
    """

    size: int = struct.field(pytree_node=False)
    unravel: Callable[[Float[Array, "P"]], Any] = struct.field(pytree_node=False)

    def to_tree(self, vector: Float[Array, "P"]) -> Any:
        """Parameters by name, as separate numpy arrays."""
        return jax.tree.map(np.array, self.unravel(np.array(vector)))

    @staticmethod
    def to_vector(tree: Any) -> np.ndarray:
        """The inverse of `to_tree`."""
        return np.array(ravel_pytree(tree)[0])


def create(params: Any, optimizer: optax.GradientTransformation) -> tuple[TrainState, Layout]:
    """The state before the first step, on the host, and the layout of its vectors."""
    vector, unravel = _raveled(params)
    state = TrainState(
        step=jnp.zeros((), jnp.int32), params=vector, ema=vector, opt_state=optimizer.init(vector)
    )
    return jax.tree.map(np.array, state), Layout(vector.size, unravel)


def _raveled(params: Any) -> tuple[Float[Array, "P"], Callable[[Float[Array, "P"]], Any]]:
    """As `ravel_pytree`, but for the gradient.

    A concatenation of a hundred leaves makes XLA's kernel search for the leaf of each element; it
    was the longest kernel of a training step. Here each leaf is written where it belongs.
    """
    vector, split = ravel_pytree(params)
    unravel = jax.custom_vjp(split)

    def backward(_: None, gradient: Any) -> tuple[Float[Array, "P"]]:
        whole, start = jnp.zeros_like(vector), 0
        for leaf in jax.tree.leaves(gradient):
            whole = jax.lax.dynamic_update_slice(whole, leaf.ravel(), (start,))
            start += leaf.size
        return (whole,)

    unravel.defvjp(lambda whole: (split(whole), None), backward)
    return vector, unravel


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
