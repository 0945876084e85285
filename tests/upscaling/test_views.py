"""Parts of an output: they are those of the whole, and encode no more than they show."""

from functools import partial

import jax
import numpy as np
import pytest
import tiny_model

import gaussiansr_jax as gsr
from gaussiansr_jax import UserError, models
from gaussiansr_jax.ops import splatting
from gaussiansr_jax.upscaling.gaussians import placed_gaussians
from gaussiansr_jax.upscaling.prepared import Prepared

DIRECT = {
    "encoder": {"name": "edsr-baseline", "channels": 8, "blocks": 1},
    "head": {"name": "direct", "grid": 2, "trunk_channels": 8, "trunk_blocks": 1},
}


@pytest.fixture(scope="module")
def tiled():
    return gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, tile=40, block=32)


@pytest.fixture(scope="module")
def direct():
    return gsr.Upscaler(tiny_model.init(DIRECT), DIRECT, tile=40, block=32)


@pytest.fixture(scope="module")
def liif():
    config = {"encoder": DIRECT["encoder"], "head": {"name": "liif", "hidden": 8}}
    return gsr.Upscaler(tiny_model.init(config), config, tile=40, block=32)


@pytest.fixture(scope="module")
def ensemble(image):
    upscaler = gsr.Upscaler(
        tiny_model.params(), tiny_model.CONFIG, tile=40, block=32, self_ensemble=True
    )
    return upscaler.prepare(image.astype(np.float32) / 255)


@jax.jit
def whole(lr, ys, xs, cell):
    """The tiny model, without tiles and blocks."""

    def render(model, lr):
        return model.render(model.encode(lr), ys, xs, cell)

    params = {"params": tiny_model.params()}
    return models.build(tiny_model.CONFIG).apply(params, lr, method=render)


@pytest.fixture(scope="module")
def image():
    return tiny_model.photo(47, 75)


def test_a_view_is_a_part_of_the_whole(tiled, image):
    prepared = Prepared(tiled.engine, image)
    whole = prepared.render(size=(110, 170))
    for top, left, height, width in ((0, 0, 110, 170), (31, 60, 50, 70), (109, 169, 1, 1)):
        view = prepared.render_view(top, left, height, width, size=(110, 170))
        assert view.dtype == np.uint8
        difference = view.astype(int) - whole[top : top + height, left : left + width]
        assert np.abs(difference).max() <= 1  # another block: rounded another way


def test_a_view_has_exactly_the_scale_that_was_asked_for(tiled, image):
    """At ×2 a grid that begins half a pixel later lies between the pixels of ×4, shifted."""
    prepared = Prepared(tiled.engine, image)
    lr = image[None].astype(np.float32) / 255
    scale, top, left = 2.71828, 3.5, 21.25
    view = prepared.render_view(top, left, 20, 30, scale)
    ys = ((top + np.arange(20) + 0.5) / scale - 0.5).astype(np.float32)[None]
    xs = ((left + np.arange(30) + 0.5) / scale - 0.5).astype(np.float32)[None]
    cell = np.full((1, 2), 1 / scale, np.float32)
    expected = np.clip(whole(lr, ys, xs, cell)[0], 0, 1) * 255
    assert np.abs(view - np.asarray(expected)).max() < 0.6
    assert np.abs(view.astype(int) - prepared.render_view(3, 21, 20, 30, scale)).max() > 1


def test_beyond_the_scales_of_training_the_head_sees_its_finest_cell(image):
    """In tiles and blocks as in the whole; up to the largest scale of training nothing changes."""
    lr = image[None].astype(np.float32) / 255

    def render(model, lr):
        places = [((np.arange(6 * n) + 0.5) / 6 - 0.5).astype(np.float32)[None] for n in (47, 75)]
        return model.render(model.encode(lr), *places, np.full((1, 2), 0.25, np.float32), 1)

    for finest in (0.0, 0.25):
        limited = {**tiny_model.CONFIG, "finest_cell": finest}
        upscaler = gsr.Upscaler(tiny_model.params(), limited, tile=40, block=32)
        model = upscaler.engine.model
        run = jax.jit(partial(model.apply, method=render))
        expected = run({"params": tiny_model.params()}, lr)
        difference = upscaler.upscale(image, 6) - 255 * np.clip(expected[0], 0, 1)
        assert (np.abs(difference).max() < 0.6) == (finest > 0)
    unlimited = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, tile=40, block=32)
    np.testing.assert_array_equal(upscaler.upscale(image, 4), unlimited.upscale(image, 4))


def test_a_view_encodes_only_the_tiles_it_shows(tiled, image):
    fields = {}
    prepared = Prepared(tiled.engine, image, fields=fields)
    everything = prepared.view_tiles(0, 0, 188, 300, 4)
    assert len(everything) > 3 and not fields
    assert sum(part.height * part.width for part in everything) == 188 * 300
    part = prepared.view_tiles(0, 0, 20, 20, 4)
    assert [p.tile for p in part] == [everything[0].tile]
    prepared.render_view(0, 0, 20, 20, 4)
    assert list(fields) == [everything[0].tile]
    fields.clear()  # as a cache may
    again = prepared.render_view(0, 0, 20, 20, 4)
    np.testing.assert_array_equal(again, prepared.render_view(0, 0, 20, 20, 4))
    prepared.encode_tile(everything[-1].tile)
    assert len(fields) == 2


@pytest.mark.parametrize("model", ["tiled", "direct", "liif"])
def test_blocks_are_rendered_from_what_they_see(model, request, image, monkeypatch):
    """The same within rounding as from the whole field, at corners and where tiles meet."""
    engine = request.getfixturevalue(model).engine
    prepared = Prepared(engine, image, fields={})
    sides, part = [], engine.part
    monkeypatch.setattr(engine, "part", lambda *args: sides.append(args[2]) or part(*args))
    for scale, side in ((2.0, 48), (4.0, 32)):
        expected_side = engine.part_side(engine.block, (scale, scale))
        parted = prepared.render(scale)
        assert set(sides) == {expected_side} and expected_side <= side
        sides.clear()
        with monkeypatch.context() as patch:
            patch.setattr(engine, "parts", ())
            whole = prepared.render(scale)
        assert not sides
        assert np.abs(parted.astype(int) - whole).max() <= 1


def test_a_block_that_sees_more_than_any_part_is_rendered_from_the_whole_field(tiled):
    assert tiled.engine.part_side(128, (1.0, 1.0)) == 144
    assert tiled.engine.part_side(512, (1.0, 4.0)) is None


@pytest.mark.parametrize(
    "arguments",
    [
        {"top": -1, "left": 0, "height": 5, "width": 5, "scale": 2},
        {"top": 0, "left": 0, "height": 5, "width": 152, "scale": 2},
        {"top": 0, "left": 0, "height": 0, "width": 5, "scale": 2},
        {"top": 0, "left": float("nan"), "height": 5, "width": 5, "scale": 2},
        {"top": 0, "left": 0, "height": 95, "width": 5, "size": (94, 150)},
        {"top": 0, "left": 0, "height": 5, "width": 5, "scale": 31},
    ],
)
def test_views_beyond_the_image_are_refused(tiled, image, arguments):
    with pytest.raises(UserError, match=r"not inside|not possible"):
        Prepared(tiled.engine, image).render_view(**arguments)


def test_progress_rises_and_may_stop_the_work(tiled, image):
    prepared, seen = Prepared(tiled.engine, image), []
    prepared.render(2.0, progress=seen.append)
    assert seen == sorted(seen) and seen[0] == 0 and seen[-1] == 1 and len(set(seen)) > 5

    class Stopped(Exception):
        pass

    def stop(done):
        if done > 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        prepared.render(2.0, progress=stop)


@pytest.mark.parametrize("model", ["tiled", "direct"])
def test_gaussians_are_those_of_the_field(model, request, image):
    """A part across tiles against the field of the whole image."""
    upscaler = request.getfixturevalue(model)
    prepared = Prepared(upscaler.engine, image, fields={})
    found = placed_gaussians(prepared, 5, 20, 33, 41)
    lr = image[None].astype(np.float32) / 255
    network = models.build(upscaler.config)
    encode = jax.jit(partial(network.apply, method="encode"))
    field = encode({"params": upscaler.params}, lr)
    whole = jax.tree.map(lambda x: np.asarray(x[0]), network.head.gaussians(field))
    part = np.s_[5:38, 20:61]
    np.testing.assert_allclose(found.sigma, np.abs(whole.sigma[part]), atol=1e-4)
    np.testing.assert_allclose(found.rho, splatting.bounded_rho(whole.rho[part]), atol=1e-4)
    np.testing.assert_allclose(found.opacity, whole.opacity[part], atol=1e-4)
    pixel = np.stack(np.mgrid[5:38, 20:61], -1)[:, :, None]
    np.testing.assert_allclose(found.center - pixel, whole.offset[part], atol=1e-4)


def test_models_without_gaussians_say_so(liif, image):
    with pytest.raises(UserError, match="no Gaussians"):
        placed_gaussians(Prepared(liif.engine, image), 0, 0, 4, 4)


@pytest.mark.parametrize("target", [{"size": (110, 170)}, {"scale": 2.3}, {"scale": (1.7, 2.6)}])
@pytest.mark.parametrize("place", ["corner", "middle", "end"])
def test_a_view_of_a_self_ensemble_is_a_part_of_the_whole(ensemble, image, target, place):
    scale = target.get("scale") or np.divide(target["size"], image.shape[:2])
    scale = np.broadcast_to(scale, 2)
    lengths = [int(np.ceil(lr * s - 1e-9)) for lr, s in zip(image.shape[:2], scale, strict=True)]
    height, width = 22, 36
    top, left = {
        "corner": (0, 0),
        "middle": (31, 60),
        "end": (lengths[0] - height, lengths[1] - width),
    }[place]
    view = ensemble.render_view(top, left, height, width, **target)
    total = 0
    for reflection, member in ensemble._members:
        # Each reflection by itself, at the view's positions, without the tiles.
        lr = member.image[None]
        ys, xs = (
            (first + np.arange(count) + 0.5) / s - 0.5
            for first, count, s in zip((top, left), (height, width), scale, strict=True)
        )
        order = -1 if reflection.transposed else 1
        axes, cell = [ys, xs][::order], np.array([[1 / s for s in scale][::order]], np.float32)
        for axis, way in enumerate((reflection.rows, reflection.columns)):
            if way < 0:
                axes[axis] = (lr.shape[1 + axis] - 1 - axes[axis])[::-1]
        ys, xs = (axis.astype(np.float32)[None] for axis in axes)
        output = np.clip(np.asarray(whole(lr, ys, xs, cell)[0]), 0, 1)
        total = total + reflection.undone(output)
    np.testing.assert_allclose(view, total / 8, atol=2e-4)
