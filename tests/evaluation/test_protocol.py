import numpy as np
import pytest
import tiny_model
from PIL import Image

from gaussiansr_jax import UserError, images
from gaussiansr_jax.evaluation import imresize, protocol, report


@pytest.mark.parametrize(
    ("scale", "lr_size", "hr_size"),
    [
        (4, (25, 30), (100, 120)),
        (3, (34, 40), (102, 120)),
        (1.5, (68, 80), (102, 120)),
        (3.3, (31, 36), (102, 119)),
        (30, (3, 4), (90, 120)),
        (1, (103, 121), (103, 121)),
    ],
)
def test_cut_sizes_by_hand(scale, lr_size, hr_size):
    assert protocol.cut_size((103, 121), scale) == (lr_size, hr_size)


def test_whole_quotients_survive_rounding():
    for lr_length in range(1, 200):
        hr_size = round(lr_length * 3.3)
        if abs(hr_size - lr_length * 3.3) < 1e-9:
            assert protocol.cut_size((hr_size, hr_size), 3.3)[0] == (lr_length, lr_length)


def test_cut_of_too_small_images():
    with pytest.raises(UserError, match="20x100 is too small for scale 30"):
        protocol.cut_size((100, 20), 30)


def test_pair_is_cut_at_the_top_left_and_rounded():
    hr = tiny_model.photo(35, 42)
    lr, cut = protocol.make_pair(hr, 4)
    assert lr.dtype == np.uint8
    assert lr.shape == (8, 10, 3)
    np.testing.assert_array_equal(cut, hr[:32, :40])
    np.testing.assert_array_equal(lr, imresize.resize_matlab(hr[:32, :40], (8, 10)))


def test_ready_made_lr_is_used():
    hr, lr = tiny_model.photo(32, 40), tiny_model.photo(8, 10, seed=1)
    np.testing.assert_array_equal(protocol.make_pair(hr, 4, lr)[0], lr)
    with pytest.raises(UserError, match="10x8 pixels, scale 2 needs 20x16"):
        protocol.make_pair(hr, 2, lr)


@pytest.mark.parametrize(
    ("scale", "shave"), [(4, 4), (3.3, 4), (1, 1), (1.5, 2), (3.0000000001, 3)]
)
def test_shave(scale, shave):
    assert protocol.shave_of(scale) == shave


def of_folder(upscale, folder, scale):
    return protocol.mean_scores(
        {
            file.name: protocol.evaluate_image(upscale, images.read_rgb(file), scale)
            for file in images.find([folder])
        }
    )


def test_folder_means_and_bicubic(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        Image.fromarray(tiny_model.photo(40, 45, seed)).save(tmp_path / f"{name}.png")

    def upscale(lr, size):
        return imresize.resize_matlab(lr, size) / 255

    scores = of_folder(upscale, tmp_path, 2)
    assert list(scores["images"]) == ["a.png", "b.png"]
    for name in ("psnr_y", "ssim_y", "psnr_rgb"):
        values = [image[name] for image in scores["images"].values()]
        assert values[0] != values[1]
        assert np.isclose(scores[name], np.mean(values))
        assert scores[name] == scores[f"bicubic_{name}"]


def test_model_and_bicubic_are_rounded_alike():
    hr = np.full((40, 40, 3), 100, np.uint8)

    def model(_, size):
        # Less than half a level off: rounding hides it.
        return np.full((*size, 3), 100.4 / 255)

    assert protocol.evaluate_image(model, hr, 2)["psnr_rgb"] == np.inf
    exact = protocol.evaluate_image(model, hr, 2, values=protocol.EXACT)
    assert np.isclose(exact["psnr_rgb"], 20 * np.log10(255 / 0.4))
    # Beyond 1 is clipped.
    scores = protocol.evaluate_image(lambda _, size: np.full((*size, 3), 7.0), 0 * hr + 255, 2)
    assert scores["psnr_y"] == np.inf
    # The same output has the same score, whosever it is.
    photo = tiny_model.photo(40, 45)

    def bicubic(lr, size):
        return imresize.resize_float(lr, size) / 255

    for values in (protocol.ROUNDED, protocol.EXACT):
        scores = protocol.evaluate_image(bicubic, photo, 2, values=values)
        assert scores["psnr_y"] == scores["bicubic_psnr_y"]


def test_bicubic_gives_the_figures_of_the_literature(shared):
    def upscale(lr, size):
        return imresize.resize_matlab(lr, size) / 255

    scores = of_folder(upscale, shared / "data" / "Set5", 4)
    assert round(scores["bicubic_psnr_y"], 2) == 28.43
    assert abs(scores["bicubic_ssim_y"] - 0.811) < 0.001


def test_table_by_hand():
    scores = dict.fromkeys(
        ("psnr_y", "ssim_y", "psnr_rgb", "bicubic_psnr_y", "bicubic_ssim_y", "bicubic_psnr_rgb"),
        0.5,
    )
    results = {"Set5": {"4": scores | {"psnr_y": 31.625, "images": {"a.png": scores}}}}
    lines = report.table(results, per_image=True).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[3].split("|")[1:4]] == ["Set5", "x4", "31.62"]
    assert lines[2].split("|")[1].strip() == "Set5/a.png"
    assert len(report.table(results).splitlines()) == 3
    assert report.plain({"a": {"b": float("inf"), "c": 1.5}}) == {"a": {"b": None, "c": 1.5}}
