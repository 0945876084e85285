import math

import numpy as np
import pytest
import tiny_model
from skimage import metrics as skimage_metrics

from gaussiansr_jax import UserError
from gaussiansr_jax.evaluation import metrics


def pair(height=24, width=30):
    target = tiny_model.photo(height, width) / 255
    noise = np.random.default_rng(1).normal(0, 0.05, target.shape)
    return np.clip(target + noise, 0, 1), target


def test_luma_by_hand():
    # ITU-R BT.601: black 16, white 235, the weights of MATLAB's rgb2ycbcr.
    image = np.array([[[0, 0, 0], [1, 1, 1], [1, 0, 0]], [[0, 1, 0], [0, 0, 1], [0.5, 0, 0.5]]])
    expected = [[16, 235, 81.481], [144.553, 40.966, 61.2235]]
    np.testing.assert_allclose(metrics.luma(image), expected, atol=1e-9)


def test_luma_difference_has_the_weights_of_the_literature():
    output, target = pair()
    difference = (output - target) @ np.array([65.738, 129.057, 25.064]) * 255 / 256
    ours = metrics.luma(output) - metrics.luma(target)
    np.testing.assert_allclose(ours, difference, atol=1e-3)


def test_psnr_by_hand():
    target = np.full((4, 4, 3), 0.5)
    assert math.isclose(metrics.psnr_rgb(target + 0.1, target), 20.0, rel_tol=1e-9)
    # Red alone is off by 0.1: 6.5481 levels of Y.
    output = target + np.array([0.1, 0, 0])
    expected = 20 * math.log10(255 / 6.5481)
    assert math.isclose(metrics.psnr_y(output, target), expected, rel_tol=1e-9)
    assert metrics.psnr_y(target, target) == math.inf


def test_shave_leaves_out_just_the_border():
    target = np.full((8, 9, 3), 0.5)
    output = target.copy()
    output[:2], output[-2:], output[:, :2], output[:, -2:] = 0, 1, 0, 1
    assert metrics.psnr_y(output, target, shave=2) == math.inf
    assert metrics.psnr_rgb(output, target, shave=2) == math.inf
    assert metrics.psnr_rgb(output, target, shave=1) < 12
    output[2, 2] += 0.1
    assert metrics.psnr_rgb(output, target, shave=2) < math.inf
    with pytest.raises(UserError, match="9x8 is too small"):
        metrics.psnr_y(output, target, shave=4)


def test_metrics_against_scikit_image():
    output, target = pair()
    y = [metrics.luma(image)[3:-3, 3:-3] for image in (output, target)]
    expected = skimage_metrics.peak_signal_noise_ratio(y[1], y[0], data_range=255)
    assert math.isclose(metrics.psnr_y(output, target, 3), expected, rel_tol=1e-9)
    expected = skimage_metrics.peak_signal_noise_ratio(target, output, data_range=1)
    assert math.isclose(metrics.psnr_rgb(output, target), expected, rel_tol=1e-9)
    # scikit-image's mean leaves out the same border, where the window of 11 does not fit.
    expected = skimage_metrics.structural_similarity(
        *y, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert math.isclose(metrics.ssim_y(output, target, 3), expected, rel_tol=1e-9)


def test_ssim_of_constants_by_hand():
    # No variance: only the term of the means is left; grey 0.5 and 0.6 have Y 125.5 and 147.4.
    ours = metrics.ssim_y(np.full((11, 11, 3), 0.5), np.full((11, 11, 3), 0.6))
    c1 = 2.55**2
    expected = (2 * 125.5 * 147.4 + c1) / (125.5**2 + 147.4**2 + c1)
    assert math.isclose(ours, expected, rel_tol=1e-9)
    with pytest.raises(UserError, match="11 pixels"):
        metrics.ssim_y(np.zeros((12, 12, 3)), np.zeros((12, 12, 3)), shave=1)
