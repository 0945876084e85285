"""Small images that are encoded together come out as each by itself."""

import numpy as np
import pytest
import tiny_model
from hypothesis import given
from hypothesis import strategies as st

import gaussiansr_jax as gsr
from gaussiansr_jax.upscaling import packing, sheets

HEADS = [
    tiny_model.CONFIG["head"],
    {"name": "direct", "grid": 2, "trunk_channels": 8, "trunk_blocks": 1},
    {"name": "direct", "grid": 1, "trunk_channels": 8, "trunk_blocks": 1, "bank": 5},
    {"name": "liif", "hidden": 8},
]
ENCODERS = [
    tiny_model.CONFIG["encoder"],
    {"name": "rdn", "channels": 8, "growth": 4, "blocks": 2, "layers": 2},
]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=30),
    side=st.integers(61, 130),
)
def test_images_lie_apart_and_inside(sizes, side):
    places = packing.pack(sizes, side)
    sheets_ = {}
    for (height, width), (sheet, top, left) in zip(sizes, places, strict=True):
        taken = sheets_.setdefault(sheet, np.zeros((side, side), bool))
        assert top + height + 1 <= side and left + width + 1 <= side
        around = taken[max(top - 1, 0) : top + height + 1, max(left - 1, 0) : left + width + 1]
        assert not around.any()
        taken[top : top + height, left : left + width] = True
    assert sorted(sheets_) == list(range(len(sheets_)))


@pytest.mark.parametrize(
    ("head", "encoder"),
    [*((head, ENCODERS[0]) for head in HEADS), *((HEADS[0], each) for each in ENCODERS[1:])],
    ids=lambda part: f"{part['name']}-{part.get('bank', 0)}",
)
def test_a_sheet_changes_nothing(monkeypatch, head, encoder):
    monkeypatch.setattr(sheets, "SHEET", 96)
    monkeypatch.setattr(sheets, "_SHEET_STEP", 32)
    monkeypatch.setattr(sheets, "_IMAGE_STEP", 16)
    config = {**tiny_model.CONFIG, "head": head, "encoder": encoder}
    upscaler = gsr.Upscaler(tiny_model.init(config), config, block=32)
    sizes = [(20, 24), (9, 40), (31, 17), (5, 5), (40, 41), (12, 33)]
    images = [
        tiny_model.photo(*size, seed).astype(np.float32) / 255 for seed, size in enumerate(sizes)
    ]
    images[1] = tiny_model.photo(9, 40, 1)
    sheet = sheets.Sheet(upscaler.engine, images)
    for index, image in enumerate(images):
        for scale in (1.7, (2, 3)):
            output = sheet.prepared(index).render(scale)
            expected = upscaler.upscale(image, scale)
            assert output.dtype == image.dtype and output.shape == expected.shape
            if image.dtype == np.uint8:
                assert np.abs(output.astype(int) - expected).max() <= 1
            else:
                np.testing.assert_allclose(output, expected, atol=1e-5)
    assert upscaler.engine.programs.encode._cache_size() > 1


def test_groups_fill_sheets():
    sizes = [(30 + 7 * i % 270, 30 + 11 * i % 270) for i in range(60)]
    groups = sheets.group(sizes)
    assert sorted(i for group in groups for i in group) == list(range(60))
    area = sum(h * w for h, w in sizes)
    assert len(groups) <= 1 + 1.35 * area / sheets.SHEET**2
    for group in groups:
        # Packed by themselves, they fit one sheet again.
        assert len(sheets.group([sizes[i] for i in group])) == 1
    assert sheets.group([]) == []
