"""MATLAB's bicubic `imresize` on the host: numpy in double precision, as MATLAB does it.

`ops.resampling.resize` with the boundary "symmetric" is the same in JAX, and the tests' oracle.
Data sets hold images of many sizes, and JAX would compile a program for each.
"""

import numpy as np
from jaxtyping import Float, Real, UInt8
from scipy import sparse

_A = -0.5  # of Keys' cubic, MATLAB's


def resize_float(
    image: Real[np.ndarray, "H W channels"], size: tuple[int, int]
) -> Float[np.ndarray, "h w channels"]:
    """MATLAB's `imresize(image, size, "bicubic")`: antialiased; neither rounded nor clipped.

    Args:
      image: an image of any range.
      size: the output's (height, width).

    Returns:
      A float32 image in the same range.

    Examples:
      >>> import numpy as np
      >>> from gaussiansr_jax.evaluation.imresize import resize_float
      >>> resize_float(np.full((6, 9, 3), 7.0), (2, 3))[1, 2].tolist()
      [7.0, 7.0, 7.0]
    """
    height, width, channels = image.shape
    rows, cols = _matrix(size[0], height), _matrix(size[1], width)
    image = (rows @ image.reshape(height, -1).astype(np.float64)).reshape(size[0], width, channels)
    flat = image.swapaxes(0, 1).reshape(width, -1)
    resized = (cols @ flat).reshape(size[1], size[0], channels).swapaxes(0, 1)
    return np.ascontiguousarray(resized, np.float32)


def resize_matlab(
    image: UInt8[np.ndarray, "H W channels"], size: tuple[int, int]
) -> UInt8[np.ndarray, "h w channels"]:
    """`resize_float` of an 8-bit image, rounded to 8 bits."""
    return np.rint(np.clip(resize_float(image, size), 0, 255)).astype(np.uint8)


def _matrix(out_length: int, in_length: int) -> sparse.csr_array:
    """Weights [out_length, in_length] of Keys' cubic, widened when reducing, mirrored borders."""
    scale = in_length / out_length
    width = max(scale, 1.0)
    center = (np.arange(out_length)[:, None] + 0.5) * scale - 0.5
    taps = np.floor(center - 2 * width) + np.arange(np.ceil(4 * width) + 2)
    x = np.abs(center - taps) / width
    near = ((_A + 2) * x - (_A + 3)) * x**2 + 1
    far = ((x - 5) * x + 8) * x * _A - 4 * _A
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    weights /= weights.sum(axis=1, keepdims=True)
    period = np.mod(taps, 2 * in_length)  # mirrored as often as the kernel reaches
    index = np.minimum(period, 2 * in_length - 1 - period).astype(np.int64)
    ends = np.arange(0, weights.size + 1, weights.shape[1])
    return sparse.csr_array((weights.ravel(), index.ravel(), ends), (out_length, in_length))
