"""What every head is: the interface between an encoder's features and RGB at any coordinate."""

from collections.abc import Sequence
from typing import Any, Protocol

import flax.linen as nn
from flax import struct
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from gaussiansr_jax.models.layers import Valid
from gaussiansr_jax.ops import selection


@struct.dataclass
class HeadInput:
    """What a head makes its field from.

    Attributes:
      features: of the encoder.
      lr: the LR images, normalized to [-1, 1], zero in the padding.
      size: valid (height, width) of each image, from its top left corner.
      mask: which pixels are valid, or None if all are.
      train: whether the selection is random; then an rng "gumbel" is needed.
      temperature: of the Gumbel-softmax, in training.
      noise: Gumbel noise to be used in place of random noise, in training and evaluation.
      packed: whether several images lie in one array; `mask` says which pixels belong to them.
    """

    features: Float[Array, "batch height width channels"]
    lr: Float[Array, "batch height width 3"]
    size: Int[Array, "batch 2"]
    mask: Bool[Array, "batch height width 1"] | None = None
    train: bool = struct.field(pytree_node=False, default=False)
    temperature: ArrayLike = 1.0
    noise: Float[Array, "batch height width kernels"] | None = None
    packed: bool = struct.field(pytree_node=False, default=False)

    @property
    def valid(self) -> Valid | None:
        """What `layers.zero_beyond` takes: `size` or `mask` if images are padded, else None."""
        return self.mask if self.packed or self.mask is None else self.size


class Head(Protocol):
    """A Flax module that turns features into RGB at any coordinate, in [-1, 1].

    A *field* is whatever `make_field` returns, a pytree; a *scaled field* is what `at_scale`
    returns. Positions are (y, x) in LR pixels, `cell` is the size of an output pixel in LR pixels.

    A head whose field consists of Gaussians may also have a method `gaussians`, which takes the
    field and returns `splatting.Gaussians`.

    Attributes:
      radius: LR pixels that an output sees in each direction, beyond the encoder's.
      field_radius: LR pixels of the field that an output sees in each direction. Those beyond the
        valid size may hold zeros, or whatever `make_field` makes of padding.
      pointwise: whether no output pixel depends on its neighbors on the grid.
      tileable: whether parts of an image can be rendered. A head for which this is false has
        `render_whole` in place of `query`, `at_scale` and `render`.
      rendering_names: names of the parameters that are needed after `make_field`; None is all.
    """

    radius: int
    field_radius: int
    pointwise: bool
    tileable: bool
    rendering_names: Sequence[str] | None

    def make_field(self, inputs: HeadInput) -> Any:
        """All that does not depend on where the output is evaluated."""

    def query(
        self, field: Any, coords: Float[Array, "batch queries 2"], cell: Float[Array, "batch 2"]
    ) -> Float[Array, "batch queries 3"]:
        """RGB at scattered positions."""

    def at_scale(self, field: Any, cell: Float[Array, "batch 2"]) -> Any:
        """What all parts of a grid with steps `cell` have in common."""

    def render(
        self,
        scaled: Any,
        ys: Float[Array, "batch height"],
        xs: Float[Array, "batch width"],
        cell: Float[Array, "batch 2"],
        patch: int | None = None,
    ) -> Float[Array, "batch height width 3"]:
        """RGB on the grid ys × xs; see `SuperResolver.render`."""


def kernel_weights(
    head: nn.Module, logits: Float[Array, "batch height width kernels"], inputs: HeadInput
) -> Float[Array, "batch height width kernels"]:
    """Weights of the kernels of a bank at each LR pixel.

    Args:
      head: has the settings `selection` (the mode in training) and `evaluation`, see
        `ops.selection.class_weights`.
      logits: of the classifier.
      inputs: whether there is training, the temperature and the noise.
    """
    if inputs.noise is not None:
        return selection.class_weights(logits, "soft", inputs.temperature, inputs.noise)
    if inputs.train and head.selection in selection.RANDOM_MODES:
        noise = selection.gumbel_noise(head.make_rng("gumbel"), logits.shape)
        return selection.class_weights(logits, head.selection, inputs.temperature, noise)
    return selection.class_weights(logits, head.evaluation)
