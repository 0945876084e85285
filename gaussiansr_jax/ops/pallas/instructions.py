"""Instructions of NVIDIA GPUs that Pallas (Triton) never generates from JAX operations."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.pallas import triton
from jaxtyping import Array


class Instructions(NamedTuple):
    """Operations on float32 arrays of one shape.

    Attributes:
      fma: a · b + c, rounded once.
      reciprocal: 1 / x, to 1 ulp.
      exp2: 2^x, to 2 ulp; less than the smallest normal number is 0.
    """

    fma: Callable[[Array, Array, Array], Array]
    reciprocal: Callable[[Array], Array]
    exp2: Callable[[Array], Array]


def _instruction(name: str) -> Callable[..., Array]:
    """A PTX instruction from float32 arrays to one float32 array, all of the same shape."""

    def apply(*arguments: Array) -> Array:
        places = ", ".join(f"${i}" for i in range(len(arguments) + 1))
        (result,) = triton.elementwise_inline_asm(
            f"{name} {places};",
            args=arguments,
            constraints=",".join(["=f", *["f"] * len(arguments)]),
            pack=1,
            result_shape_dtypes=[jax.ShapeDtypeStruct(arguments[0].shape, jnp.float32)],
        )
        return result

    return apply


# Under jax 0.11, Triton emits no fused multiply-add and slow reciprocals and exponentials.
PTX = Instructions(
    _instruction("fma.rn.f32"),
    _instruction("rcp.approx.ftz.f32"),
    _instruction("ex2.approx.ftz.f32"),
)
# The same in plain JAX, where a kernel is interpreted.
PLAIN = Instructions(lambda a, b, c: a * b + c, lambda x: 1 / x, jnp.exp2)
