"""The decoders at the end of the GaussianSR and LIIF heads, and the layers they are made of."""

from collections.abc import Callable, Sequence
from functools import reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gaussiansr_jax.ops.pallas import decoder as pallas_decoder

# Kernel (…, inputs, outputs) and bias (outputs) of a dense layer or a convolution, float32.
# Without names: the layers of a network differ in size. Parameters may come from a file, as numpy.
Layer = tuple[Float[Array | np.ndarray, "... _ _"], Float[Array | np.ndarray, "_"]]
# Tensor cores take channels in eights, and convolutions are built for many of them.
_ALIGNED, _TILE = 8, 128
# Of cos πr and sin πr / r, in r², the highest power first.
_COS = (-0.0243967165, 0.2349375591, -1.335212057, 4.058709164, -4.934802137, 0.9999999998)
_SIN = (0.0772222412, -0.5980464466, 2.55003164, -5.1677069, 3.141592581)


class Affine(nn.Module):
    """The parameters of a dense layer or a convolution, named and initialized as Flax does it.

    Attributes:
      features: number of outputs.
    """

    features: int

    @nn.compact
    def __call__(self, *shape: int) -> Layer:
        """Kernel and bias of a layer whose kernel has the shape (*shape, features)."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (*shape, self.features))
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class MLP(nn.Module):
    """Dense layers with an activation after each but the last.

    Attributes:
      widths: output width of each layer.
      activation: applied after each layer but the last.
      dtype: computation type.
    """

    widths: Sequence[int]
    activation: Callable[[Array], Array]
    dtype: DTypeLike

    def __call__(self, x: Float[Array, "... inputs"]) -> Float[Array, "... outputs"]:
        """Applies the layers along the last axis."""
        return mlp(x.astype(self.dtype), self.layers(x.shape[-1]), self.activation)

    @nn.compact
    def layers(self, inputs: int) -> list[Layer]:
        """The parameters."""
        sizes = zip((inputs, *self.widths), self.widths, strict=False)
        return [Affine(m, name=f"dense_{i}")(n) for i, (n, m) in enumerate(sizes)]


def mlp(
    x: Float[Array, "... inputs"], layers: Sequence[Layer], activation: Callable[[Array], Array]
) -> Float[Array, "... outputs"]:
    """Dense layers with an activation after each but the last, in the type of `x`."""
    for i, (kernel, bias) in enumerate(layers):
        x = add_bias(x @ kernel.astype(x.dtype), bias)
        x = activation(x) if i < len(layers) - 1 else x
    return x


@jax.custom_vjp
def add_bias(
    x: Float[Array, "... n"], bias: Float[Array | np.ndarray, "n"]
) -> Float[Array, "... n"]:
    """`x + bias` in the type of `x`.

    The gradient of the bias, a sum over rows, reads the gradient of the output from memory. XLA
    would compute all that leads to that gradient (of a GELU, above all) a second time in the sum.
    """
    return x + jnp.expand_dims(bias.astype(x.dtype), range(x.ndim - 1))


def _add_bias_forward(x, bias):
    return add_bias(x, bias), None


def _add_bias_backward(_, gradient):
    gradient = jax.lax.optimization_barrier(gradient)
    return gradient, jnp.sum(gradient, range(gradient.ndim - 1), dtype=jnp.float32)


add_bias.defvjp(_add_bias_forward, _add_bias_backward)


def convolve(
    x: Float[Array, "batch height width inputs"],
    kernel: Float[Array | np.ndarray, "3 3 inputs outputs"],
    padding: str,
    stride: int = 1,
) -> Float[Array, "batch out_height out_width outputs"]:
    """A convolution without bias, in the type of `x`.

    Outputs whose number no tensor core takes are computed with others of zero weight, which are
    dropped: cheaper than what cuDNN does about them.
    """
    outputs = kernel.shape[-1]
    unused = -outputs % _TILE if outputs % _ALIGNED else 0
    kernel = jnp.pad(kernel.astype(x.dtype), [(0, 0)] * 3 + [(0, unused)])
    axes = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=axes)
    return y[..., :outputs]


@jax.custom_vjp
def decode(
    waves: Float[Array, "batch *positions channels"],
    bias: Float[Array, "channels"],
    relative: Float[Array, "batch *positions 2"],
    phase: Float[Array, "#batch *#positions half"],
    layers: Sequence[Layer],
) -> Float[Array, "batch *positions 3"]:
    """RGB from amplitude, frequency, phase and MLP, as in LTE (arXiv 2111.08918).

    With z = π (f_y r_y + f_x r_x + phase), the MLP's inputs are a_cos cos z and a_sin sin z. On
    NVIDIA GPUs one kernel computes it, where the type is bfloat16 and no gradient is asked for.

    Args:
      waves: a_cos, a_sin, f_y, f_x, `hidden / 2` channels each, without their bias.
      bias: that is still to be added to `waves`.
      relative: twice the position relative to the nearest LR pixel, r_y, r_x.
      phase: of each wave.
      layers: of the MLP, whose activation is the exact GELU.
    """
    if not pallas_decoder.supports(waves, phase):
        return _decode(waves, bias, relative, phase, layers)
    return jax.lax.platform_dependent(
        waves, bias, relative, phase, layers, cuda=pallas_decoder.decode, default=_decode
    )


def _decode(waves, bias, relative, phase, layers):
    """`decode` in plain JAX."""
    waves = add_bias(waves, bias)
    hidden = waves.shape[-1] // 2
    amplitude, frequency = waves[..., :hidden], waves[..., hidden:].astype(jnp.float32)
    frequency_y, frequency_x = jnp.split(frequency, 2, -1)
    z = frequency_y * relative[..., :1] + frequency_x * relative[..., 1:] + phase
    x = amplitude * jnp.concatenate(cos_sin_pi(z), -1).astype(amplitude.dtype)
    return mlp(x, layers, exact_gelu).astype(jnp.float32)


def cos_sin_pi(t: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """cos πt and sin πt, float32, within its rounding.

    With n the integer nearest to t and r = t - n, they are (-1)ⁿ cos πr and (-1)ⁿ sin πr, and for
    |r| <= 1/2 short polynomials do (least squares, weighted until the error was level: 2e-10 and
    3e-9). The functions for any argument take many times as long on CPUs.
    """
    n = jnp.floor(t + 0.5)
    r = t - n
    sign = 1 - 2 * (n - 2 * jnp.floor(0.5 * n))
    cos, sin = (reduce(lambda y, c: y * (r * r) + c, p) for p in (_COS, _SIN))
    return sign * cos, sign * r * sin


def exact_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x Φ(x), Φ the normal distribution, not approximated."""
    return jax.nn.gelu(x, approximate=False)


decode.defvjp(
    lambda *arguments: jax.vjp(_decode, *arguments),
    lambda pull_back, gradient: pull_back(gradient),
)
