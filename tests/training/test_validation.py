"""Scores of the held-out crops while training, against those of the evaluation."""

import numpy as np
import pytest
import tiny_model
from PIL import Image

from gaussiansr_jax import Upscaler, models
from gaussiansr_jax.evaluation import metrics, protocol
from gaussiansr_jax.training import state as states
from gaussiansr_jax.training.validation import Validator

SCALES = (1.5, 2, 3.3)
# The last scale is beyond those that the model was trained at.
CONFIG = {**tiny_model.CONFIG, "finest_cell": 0.4}


@pytest.fixture(scope="module")
def crops():
    return np.stack([tiny_model.photo(40, 40, seed) for seed in range(5)])


@pytest.fixture(scope="module")
def validator(crops):
    layout = states.Layout(tiny_model.params())
    vector = layout.to_vector(tiny_model.params())
    model = models.build(CONFIG)
    return Validator(model, layout, crops, SCALES), vector


def test_scores_are_those_of_the_evaluation(validator, crops):
    validate, vector = validator
    upscaler = Upscaler(tiny_model.params(), CONFIG)
    found = validate(vector)
    means = []
    for scale in SCALES:
        each, (first,) = [], validate.predict(vector, scale, [0])
        for crop in crops:
            lr, hr = protocol.make_pair(crop, scale)
            output = upscaler.upscale(np.float32(lr) / 255, size=hr.shape[:2])
            if not each:
                size = output.shape[:2]
                np.testing.assert_allclose(
                    first[: size[0], : size[1]].clip(0, 1), output, atol=1e-5
                )
            shave = protocol.shave_of(scale)
            each.append(metrics.psnr_y(np.clip(output, 0, 1), np.float64(hr) / 255, shave))
        means.append(np.mean(each))
        np.testing.assert_allclose(found[f"x{scale:g}"], means[-1], rtol=1e-4)
    np.testing.assert_allclose(found["mean"], np.mean(means), rtol=1e-4)


def test_picture_shows_the_largest_scale(validator, tmp_path):
    validate, vector = validator
    validate.write_picture(tmp_path / "p.png", vector, rows=2)
    with Image.open(tmp_path / "p.png") as sheet:
        side = protocol.cut_size((40, 40), 3.3)[1][0]
        assert sheet.size == (4 * side, 2 * side)
