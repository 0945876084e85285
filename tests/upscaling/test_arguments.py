"""What callers give as scale and size: a result, or one sentence that says what is wrong."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_model

import gaussiansr_jax as gsr
from gaussiansr_jax import UserError
from gaussiansr_jax.upscaling import arguments


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "ensemble"])
def upscaler(request):
    settings = {"block": 32, "self_ensemble": request.param}
    return gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, **settings)


@pytest.fixture(scope="module")
def twice_as_large(upscaler):
    return upscaler.upscale(IMAGE, 2)


IMAGE = tiny_model.photo(20, 24)


@pytest.mark.parametrize(
    "asked",
    [
        {"scale": 2},
        {"scale": jnp.float32(2)},
        {"scale": jnp.bfloat16(2)},
        {"scale": np.int64(2)},
        {"scale": np.array([2, 2])},
        {"scale": [2, 2.0]},
        {"scale": jnp.array([2.0, 2.0])},
        {"size": [40, 48]},
        {"size": np.array([40, 48])},
        {"size": jnp.array([40, 48])},
        {"size": (40.0, np.float32(48))},
    ],
)
def test_numbers_of_every_kind(upscaler, twice_as_large, asked):
    np.testing.assert_array_equal(upscaler.upscale(IMAGE, **asked), twice_as_large)
    np.testing.assert_array_equal(upscaler.prepare(IMAGE).render(**asked), twice_as_large)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"scale": "2"}, "scale must be a number or a pair"),
        ({"scale": b"2"}, "scale must be"),
        ({"scale": (2, 2, 2)}, "scale must be"),
        ({"scale": ()}, "scale must be"),
        ({"scale": [[2, 2]]}, "scale must be"),
        ({"scale": {"y": 2}}, "scale must be"),
        ({"scale": 2j}, "scale must be"),
        ({"scale": True}, "scale must be"),
        ({"scale": [2, [3]]}, "scale must be"),
        ({"scale": (2, None)}, "scale must be"),
        ({"scale": float("nan")}, "scales go from 1 to 30"),
        ({"size": 64}, "size must be"),
        ({"size": "64x64"}, "size must be"),
        ({"size": (float("nan"), 48)}, "size must be"),
        ({"size": (float("inf"), 48)}, "size must be"),
        ({"size": (40, 48, 3)}, "size must be"),
        ({"size": (40.5, 48)}, "size must be"),
        ({"size": (-40, 48)}, "size must be"),
        ({"size": (10**9, 48)}, "not possible"),
        ({"size": ["a", "b"]}, "size must be"),
    ],
)
def test_anything_else_is_one_sentence(upscaler, asked, said):
    for call in (upscaler.upscale, lambda image, **a: upscaler.prepare(image).render(**a)):
        with pytest.raises(UserError, match=said) as error:
            call(IMAGE, **asked)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("image", [None, "a.png", [[1, 2], [3]], object(), {"a": 1}])
def test_what_is_no_image(upscaler, image):
    with pytest.raises(UserError, match="image"):
        upscaler.upscale(image, 2)


def test_64_bits_of_the_caller_change_nothing(upscaler):
    expected = upscaler.upscale(IMAGE, 2)
    with jax.enable_x64(True):
        again = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, block=32)
        image = np.asarray(IMAGE, np.float64) / 255
        assert again.upscale(image, 2).dtype == np.float32
        np.testing.assert_array_equal(upscaler.upscale(IMAGE, 2), expected)


def test_a_platform_that_is_not_there(tmp_path):
    weights = tiny_model.save(tmp_path / "tiny.safetensors")
    code = f"import gaussiansr_jax as gsr; gsr.load({str(weights)!r})"
    for platform in ("cuda", "tpu", "nonsense"):
        result = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env={"JAX_PLATFORMS": platform, "PATH": "/usr/bin:/bin"},
        )
        last = result.stderr.strip().splitlines()[-1]
        assert last.startswith("gaussiansr_jax.errors.UserError: JAX cannot use the platform"), last


def test_numbers_are_python_s():
    assert type(arguments.as_scale(np.float32(2))) is float
    assert arguments.as_size(np.array([3, 4])) == (3, 4)
    assert type(arguments.as_size(np.array([3, 4]))[0]) is int


@pytest.mark.parametrize("side", [-1, 0, 1.5, float("nan"), float("inf"), "64", True, [64, 64]])
@pytest.mark.parametrize("name", ["tile", "block"])
def test_sides_that_are_none(name, side):
    """A negative block rendered nothing and returned memory as it was."""
    with pytest.raises(UserError, match=f"{name} must be a whole number"):
        gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, **{name: side})


@pytest.mark.parametrize(
    "view",
    [
        ("a", 0, 5, 5),
        (None, 0, 5, 5),
        ([0, 1], 0, 5, 5),
        (0, 0, "5", 5),
        (0, 0, True, 5),
        (0, float("nan"), 5, 5),
        (0, 0, float("nan"), 5),
        (0, 0, 5, float("inf")),
        (0, 0, 5, 2.5),
        (0, 0, 0, 5),
    ],
)
def test_views_that_are_none(view):
    upscaler = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG)
    with pytest.raises(UserError, match="a view"):
        upscaler.prepare(IMAGE).render_view(*view, scale=2)
