import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_model

import gaussiansr_jax as gsr
from gaussiansr_jax import UserError, models
from gaussiansr_jax.upscaling import arguments, assembling, tiling
from gaussiansr_jax.upscaling import engine as engine_module
from gaussiansr_jax.upscaling.prepared import Prepared

DIRECT = {"name": "direct", "grid": 1, "trunk_channels": 8, "trunk_blocks": 1}


@pytest.fixture(scope="module")
def upscaler():
    return gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, block=32)


@pytest.fixture
def nothing_compiled():
    """Engines share their programs, and this test counts them."""
    engine_module.programs.cache_clear()


def as_float(image):
    return image.astype(np.float32) / 255


def reference(image, size):
    """The model on the whole, unpadded image in one piece."""
    model = models.build(tiny_model.CONFIG)
    scale = np.array(size) / image.shape[:2]
    ys, xs = (tiling.positions(n, s) for n, s in zip(size, scale, strict=True))

    def whole(model, lr):
        field = model.encode(lr)
        return model.render(field, jnp.float32(ys)[None], jnp.float32(xs)[None], 1 / scale[None])

    @jax.jit
    def run(params, lr):
        return model.apply({"params": params}, lr, method=whole)

    return np.clip(run(tiny_model.params(), as_float(image)[None])[0], 0, 1)


@pytest.mark.parametrize("size", [(55, 81), (41, 90)])
def test_padding_and_blocks_change_nothing(upscaler, size):
    image = tiny_model.photo(23, 37)
    output = upscaler.upscale(as_float(image), size=size)
    assert output.dtype == np.float32
    assert output.std() > 0.01
    np.testing.assert_allclose(output, reference(image, size), atol=1e-5)


def test_engines_of_equal_models_share_programs(upscaler):
    other = tiny_model.init(tiny_model.CONFIG)
    other["head"] = jax.tree.map(lambda leaf: leaf / 2, other["head"])
    image, same = tiny_model.photo(20, 24), gsr.Upscaler(other, tiny_model.CONFIG, block=32)
    first = upscaler.upscale(image, 2)
    assert same.engine.programs is upscaler.engine.programs
    assert np.abs(same.upscale(image, 2).astype(int) - first).max() > 1  # its own weights
    low = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, dtype="bfloat16")
    assert low.engine.programs is not upscaler.engine.programs


def test_several_blocks_in_a_call_change_nothing(upscaler, nothing_compiled):
    image = tiny_model.photo(23, 37)
    several = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, block=32)
    several.engine.blocks_at_once, several.engine.parts = 3, ()  # as on an accelerator
    # 2 x 4 blocks: twice three of them, and two by themselves.
    output = several.upscale(as_float(image), size=(57, 100))
    assert several.engine.programs.render._cache_size() == 2
    np.testing.assert_allclose(output, upscaler.upscale(as_float(image), size=(57, 100)), atol=1e-6)


def test_tiles_change_nothing(upscaler):
    image = tiny_model.photo(40, 75)
    tiled = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, tile=32, block=32)
    tiles = Prepared(tiled.engine, image).view_tiles(0, 0, 92, 173, 2.3)
    assert len(tiles) > 4
    whole = upscaler.upscale(as_float(image), scale=2.3)
    np.testing.assert_allclose(tiled.upscale(as_float(image), scale=2.3), whole, atol=1e-5)


def test_uint8_is_the_rounded_float(upscaler):
    image = tiny_model.photo(20, 24)
    output = upscaler.upscale(image, scale=1.7)
    assert output.dtype == np.uint8
    assert output.shape == (34, 41, 3)
    exact = upscaler.upscale(as_float(image), scale=1.7) * 255
    assert np.abs(output - exact).max() <= 0.501


def test_one_compilation_for_all_sizes_and_scales_of_a_bucket(nothing_compiled):
    upscaler = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, block=32)
    for (height, width), scale in {(20, 24): 1.5, (32, 30): 3, (9, 32): (2.5, 4.1)}.items():
        upscaler.upscale(tiny_model.photo(height, width), scale)
    assert upscaler.engine.programs.encode._cache_size() == 1
    assert upscaler.engine.programs.render._cache_size() == 1
    upscaler.upscale(tiny_model.photo(33, 20), 2)
    assert upscaler.engine.programs.encode._cache_size() == 2


def test_a_larger_smallest_size_compiles_once_and_changes_nothing(upscaler, nothing_compiled):
    padded = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, block=32)
    padded.engine.smallest = 64  # as accelerators have it, there 256
    for height, width in ((20, 24), (33, 20), (64, 50)):
        image = as_float(tiny_model.photo(height, width))
        np.testing.assert_allclose(
            padded.upscale(image, 1.7), upscaler.upscale(image, 1.7), atol=1e-5
        )
    assert padded.engine.programs.encode._cache_size() == 1


def test_scale_per_axis_and_size_are_the_same(upscaler):
    image = tiny_model.photo(20, 24)
    output = upscaler.upscale(image, scale=(2, 3))
    assert output.shape == (40, 72, 3)
    np.testing.assert_array_equal(output, upscaler.upscale(image, size=(40, 72)))


def test_self_ensemble_is_the_mean_over_the_reflections(upscaler):
    ensemble = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, block=32, self_ensemble=True)
    image = as_float(tiny_model.photo(20, 24))
    total = 0
    for k in range(4):
        for step in (1, -1):
            turned = np.rot90(image, k)[:, ::step]
            scale = (2, 3) if k % 2 == 0 else (3, 2)
            total += np.rot90(upscaler.upscale(turned, scale)[:, ::step], -k)
    output = ensemble.upscale(image, (2, 3))
    np.testing.assert_allclose(output, total / 8, atol=1e-5)
    assert np.abs(output - upscaler.upscale(image, (2, 3))).max() > 1e-3
    # A reflected image gives the reflected result, whatever the model.
    mirrored = ensemble.upscale(image[::-1].swapaxes(0, 1), size=(72, 40))
    np.testing.assert_allclose(mirrored.swapaxes(0, 1)[::-1], output, atol=1e-5)
    rounded = ensemble.prepare(tiny_model.photo(20, 24)).render(np.float64(1.7))
    exact = ensemble.upscale(image, 1.7)
    assert rounded.dtype == np.uint8 and exact.dtype == np.float32
    assert np.abs(rounded - 255 * exact).max() <= 0.501


def test_self_ensemble_needs_memory_for_the_sum(monkeypatch):
    ensemble = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, self_ensemble=True)
    plain = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG)
    image = tiny_model.photo(20, 24)
    monkeypatch.setattr(arguments, "available_bytes", lambda: 40 * 48 * 3 * 8)
    assert plain.upscale(image, 2).shape == (40, 48, 3)
    with pytest.raises(UserError, match="an output of 48x40 needs"):
        ensemble.upscale(image, 2)


def test_an_error_waits_for_what_is_being_copied(upscaler, monkeypatch):
    """What was rendered before it holds memory that smaller pieces will need."""
    store, render, done = assembling._store, upscaler.engine.render, []

    def slow(*args):
        time.sleep(0.2)
        store(*args)
        done.append(args)

    calls = []

    def third_fails(*args):
        calls.append(args)
        if len(calls) == 3:
            raise ValueError("third")
        return render(*args)

    monkeypatch.setattr(assembling, "_store", slow)
    monkeypatch.setattr(upscaler.engine, "render", third_fails)
    with pytest.raises(ValueError, match="third"):
        upscaler.upscale(tiny_model.photo(23, 37), size=(57, 100))
    assert len(done) == len(calls) - 1 >= 2


def test_prepared_image_is_encoded_once(upscaler, monkeypatch):
    calls = []
    encode = upscaler.engine.encode
    monkeypatch.setattr(upscaler.engine, "encode", lambda *a: calls.append(a) or encode(*a))
    image = tiny_model.photo(20, 24)
    prepared = upscaler.prepare(image)
    outputs = [prepared.render(scale) for scale in (1, 2.5, 4)]
    assert len(calls) == 1
    np.testing.assert_array_equal(outputs[1], upscaler.upscale(image, 2.5))


def test_large_prepared_image_is_not_kept():
    tiled = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, tile=32, block=32)
    image = tiny_model.photo(20, 40)
    prepared = Prepared(tiled.engine, image, kept_bytes=1000).encode()
    assert not prepared._fields
    assert prepared.render(1).shape == (20, 40, 3)
    assert not prepared._fields


def out_of_memory(times):
    def fail(encode, *args):
        nonlocal times
        times -= 1
        if times >= 0:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
        return encode(*args)

    return fail


def test_out_of_memory_makes_pieces_smaller(upscaler, monkeypatch):
    image = tiny_model.photo(20, 100)
    expected = upscaler.upscale(as_float(image), 1.5)
    small = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, tile=128, block=64)
    encode, fail = small.engine.encode, out_of_memory(1)
    monkeypatch.setattr(small.engine, "encode", lambda *a: fail(encode, *a))
    prepared = small.prepare(as_float(image))
    np.testing.assert_allclose(prepared.render(1.5), expected, atol=1e-5)
    assert (prepared._tile, prepared._block) == (64, 32)
    # The next image starts with large pieces again.
    assert (small.engine.tile, small.engine.block) == (128, 64)


def test_out_of_memory_for_good_is_said(monkeypatch):
    small = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG)
    encode, fail = small.engine.encode, out_of_memory(99)
    monkeypatch.setattr(small.engine, "encode", lambda *a: fail(encode, *a))
    with pytest.raises(UserError, match="too little memory to upscale an image of 24x20"):
        small.upscale(tiny_model.photo(20, 24), 2)


def test_other_errors_are_not_hidden(upscaler, monkeypatch):
    def broken(*args):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(upscaler.engine, "encode", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        upscaler.upscale(tiny_model.photo(20, 24), 2)


def test_output_larger_than_the_host_memory_is_refused(upscaler, monkeypatch):
    monkeypatch.setattr(arguments, "available_bytes", lambda: 40 * 48 * 3 - 1)
    with pytest.raises(UserError, match="an output of 48x40 needs"):
        upscaler.upscale(tiny_model.photo(20, 24), 2)
    monkeypatch.setattr(arguments, "available_bytes", lambda: 40 * 48 * 3)
    upscaler.upscale(tiny_model.photo(20, 24), 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.9}, "scale 0.9 is not possible"),
        ({"scale": (2, 0.5)}, "scales go from 1 to 30"),
        ({"scale": float("nan")}, "scales go"),
        ({"scale": float("inf")}, "scales go"),
        ({"scale": 31}, "scales go"),
        ({"size": (40, 23)}, "size 23x40 is not possible for an image of 24x20"),
        ({"size": (40.5, 48)}, "whole pixels"),
        ({}, "either scale or size"),
        ({"scale": 2, "size": (40, 48)}, "either scale or size"),
    ],
)
def test_impossible_requests(upscaler, arguments, message):
    with pytest.raises(UserError, match=message):
        upscaler.upscale(tiny_model.photo(20, 24), **arguments)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8), np.uint8), "shape"),
        (np.zeros((8, 8, 4), np.uint8), "shape"),
        (np.zeros((0, 8, 3), np.uint8), "shape"),
        (np.zeros((8, 8, 3), np.int32), "int32"),
        (np.full((8, 8, 3), 255.0), r"\[0, 1\]"),
        (np.full((8, 8, 3), np.nan), "NaN"),
    ],
)
def test_impossible_images(upscaler, image, message):
    with pytest.raises(UserError, match=message):
        upscaler.upscale(image, 2)


def test_dtype_overrides_the_config():
    upscaler = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, dtype="bfloat16", block=32)
    assert upscaler.model.encoder.dtype == jnp.bfloat16
    image = as_float(tiny_model.photo(20, 24))
    difference = upscaler.upscale(image, 2) - reference(tiny_model.photo(20, 24), (40, 48))
    assert 0 < np.abs(difference).max() < 0.1


def test_official_raster_runs_whole():
    config = {**tiny_model.CONFIG, "head": tiny_model.CONFIG["head"] | {"splatting": "official"}}
    upscaler = gsr.Upscaler(tiny_model.params(), config)
    assert not upscaler.model.tileable
    image = tiny_model.photo(14, 21)
    output = upscaler.upscale(as_float(image), scale=3)
    model, variables = models.build(config), {"params": tiny_model.params()}

    @jax.jit
    def run(variables, lr):
        field = model.apply(variables, lr, method="encode")
        return model.apply(variables, field, (42, 63), 3.0, method="render_whole")[0]

    whole = run(variables, as_float(image)[None])
    np.testing.assert_allclose(output, np.clip(whole, 0, 1), atol=1e-5)
    np.testing.assert_array_equal(upscaler.prepare(as_float(image)).render(3), output)


@pytest.mark.parametrize("head", [{"name": "liif", "hidden": 8}, DIRECT])
def test_other_heads_are_tiled_exactly(head):
    config = {**tiny_model.CONFIG, "head": head}
    params = tiny_model.init(config)
    image = as_float(tiny_model.photo(16, 50))
    whole = gsr.Upscaler(params, config, block=64).upscale(image, 1.5)
    tiled = gsr.Upscaler(params, config, tile=32, block=64).upscale(image, 1.5)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "dtype"),
    [
        ({"name": "liif", "hidden": 8}, "bfloat16"),
        (DIRECT, "float32"),
        (tiny_model.CONFIG["head"], "float32"),
        (tiny_model.CONFIG["head"], "bfloat16"),
    ],
)
def test_kernels_as_gpus_have_them_change_nothing(monkeypatch, head, dtype):
    config = {**tiny_model.CONFIG, "head": head, "dtype": dtype}
    params, image = tiny_model.init(config), as_float(tiny_model.photo(20, 24))
    expected = gsr.Upscaler(params, config, block=32).upscale(image, 1.5)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    turned = gsr.Upscaler(params, config, tile=32, block=32)
    kernel = turned.engine._encoding_params["encoder"]["conv_in"]["kernel"]
    assert kernel.shape == (8, 3, 3, 3) and kernel.dtype == dtype
    np.testing.assert_allclose(turned.upscale(image, 1.5), expected, atol=1e-5)
