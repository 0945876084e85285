import av
import clips
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from clips import from_rgb, to_rgb

from gaussiansr_jax.video.color import BT601_525, BT709, Layout

BT2020 = 9
MATRICES = [BT709, BT601_525, BT2020]
FORMATS = [(8, (2, 2)), (8, (1, 2)), (10, (2, 2)), (10, (1, 1))]


def smooth_photo(height=48, width=64):
    """Colors without fine detail, where all ways to interpolate chroma agree."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(0.05 * y + 0.03 * x), np.cos(0.04 * x - 0.02 * y), np.sin(0.06 * x)]
    return np.stack([0.5 + 0.45 * w for w in waves], -1)


# Every pair of a format, a matrix and a range.
@pytest.mark.parametrize("matrix", range(len(MATRICES)))
@pytest.mark.parametrize("form", range(len(FORMATS)))
def test_colors_are_those_of_ffmpeg(form, matrix):
    full_range, matrix, (bits, subsampling) = (form + matrix) % 2, MATRICES[matrix], FORMATS[form]
    rgb = smooth_photo()
    layout = Layout(bits, *subsampling, bool(full_range), matrix)
    source = av.VideoFrame.from_ndarray(np.rint(rgb * 65535).astype(np.uint16), "rgb48le")
    theirs = source.reformat(
        format=layout.pixel_format,
        dst_colorspace=5 if matrix == BT601_525 else matrix,
        dst_color_range=2 if full_range else 1,
        interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
    )
    ours = from_rgb(rgb.astype(np.float32), layout)
    theirs = clips.planes(theirs, layout)
    for plane, reference in zip(ours, theirs, strict=True):
        assert plane.dtype == layout.dtype
        difference = np.asarray(plane, np.int32) - reference.astype(np.int32)
        # FFmpeg's own white of 10 bits is 943, not the 940 of the standard.
        assert np.abs(difference).max() <= 2 ** (bits - 8) * 3
        assert np.abs(difference).mean() <= 2 ** (bits - 8) * 0.9
    back = to_rgb(theirs, layout)
    assert np.abs(back - rgb).max() < 0.025
    assert np.abs(back - rgb).mean() < 0.006


@pytest.mark.parametrize("full_range", [False, True])
def test_there_and_back(full_range):
    layout = Layout(8, 1, 1, full_range, BT709)
    rgb = clips.frames(1)[0] / np.float32(255)
    once = from_rgb(rgb, layout)
    twice = from_rgb(to_rgb(once, layout), layout)
    assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))


def test_the_formulas_of_bt709():
    red, green, blue = rgb = (0.8, 0.3, 0.1)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    expected = [219 * luma + 16, 224 * (blue - luma) / 1.8556 + 128]
    expected += [224 * (red - luma) / 1.5748 + 128]
    planes = from_rgb(np.full((2, 2, 3), rgb, np.float32), Layout(8, 1, 1, False, BT709))
    assert [int(plane[0, 0]) for plane in planes] == [round(x) for x in expected]


def test_white_and_black_of_the_limited_range():
    layout = Layout(10, 2, 2, False, BT709)
    black, white = (from_rgb(np.full((4, 4, 3), x, np.float32), layout) for x in (0.0, 1.0))
    assert [int(plane[0, 0]) for plane in black] == [64, 512, 512]
    assert [int(plane[0, 0]) for plane in white] == [940, 512, 512]


def test_chroma_stays_where_it_is():
    """A gradient has the same chroma samples after it has gone through RGB."""
    layout = Layout(8, 2, 2, False, BT709)
    ramp = np.tile(np.arange(96, 160, 2, np.uint8), (24, 1))
    planes = (np.full((48, 64), 128, np.uint8), ramp, ramp.copy())
    back = from_rgb(to_rgb(planes, layout), layout)
    inside = np.s_[:, 2:-2]
    np.testing.assert_array_equal(np.asarray(back[1])[inside], ramp[inside])


def test_odd_sides():
    layout = Layout(8, 2, 2, False, BT709)
    planes = tuple(np.full(shape, 100, np.uint8) for shape in layout.shapes(5, 7))
    assert [p.shape for p in planes] == [(5, 7), (3, 4), (3, 4)]
    assert to_rgb(planes, layout).shape == (5, 7, 3)
