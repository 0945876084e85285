import jax
import numpy as np
import pytest
import tiny_model

from gaussiansr_jax.evaluation import imresize
from gaussiansr_jax.ops import resampling


@pytest.mark.parametrize(
    ("size", "out"),
    [((35, 42), (8, 29)), ((20, 24), (57, 24)), ((48, 51), (2, 70)), ((9, 130), (9, 41))],
)
def test_equals_the_resampling_that_training_compiles(size, out):
    image = tiny_model.photo(*size)
    ours = imresize.resize_float(image, out)
    resize = jax.jit(resampling.resize, static_argnums=(1, 2))
    expected = resize(image.astype(np.float32), out, "symmetric")
    assert ours.dtype == np.float32 and ours.shape == (*out, 3)
    np.testing.assert_allclose(ours / 255, expected / 255, atol=3e-6)


def test_matlab_weights_by_hand():
    # Halving: the kernel spans 8 pixels at distances 1/4, 3/4, 5/4, 7/4 of its unit on each side.
    # Keys' cubic with a = -1/2 is 111, 29, -9, -3 (in 1/256) there. A step from 0 to 200 gives the
    # sums over its one side, and at the image's borders, as it is mirrored, no change.
    hr = np.zeros((16, 16, 3), np.uint8)
    hr[:, 8:] = 200
    row = np.array([0, 0, -3, 17, 239, 259, 256, 256]) * 200 / 256
    lr = imresize.resize_matlab(hr, (8, 8))
    np.testing.assert_array_equal(lr[3, :, 0], np.clip(np.rint(row), 0, 255))
    # A bright first column counts twice where the kernel reaches over the border.
    hr = np.zeros((16, 16, 3), np.uint8)
    hr[:, 0] = 100
    lr = imresize.resize_matlab(hr, (8, 8))
    np.testing.assert_array_equal(lr[3, :3, 0], np.rint([(111 + 29) * 100 / 256, 0, 0]))
