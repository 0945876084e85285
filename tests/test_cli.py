import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny_model
from PIL import Image

import gaussiansr_jax as gsr
from gaussiansr_jax import UserError, __main__, images, loading, weights
from gaussiansr_jax.commands.helpers import startup
from gaussiansr_jax.commands.helpers.target import parse
from gaussiansr_jax.evaluation import imresize, protocol

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    return str(tiny_model.save(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.setenv("GAUSSIANSR_JAX_CACHE", "")


@pytest.fixture
def upscale(weights_file):
    def run(*args):
        __main__.main(["upscale", *map(str, args), "--weights", weights_file])

    return run


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, seed in (("a.png", 0), ("b.png", 1)):
        Image.fromarray(tiny_model.photo(16, 20, seed)).save(folder / name)
    return folder


def test_one_file(upscale, photos, tmp_path, capsys):
    output = tmp_path / "new" / "large.png"
    upscale(photos / "a.png", "--output", output, "--scale", "2x1.5")
    assert capsys.readouterr().out.strip() == str(output)
    expected = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG).upscale(
        tiny_model.photo(16, 20), scale=(1.5, 2)
    )
    assert expected.shape == (24, 40, 3)
    np.testing.assert_array_equal(images.read_rgb(output), expected)


def test_self_ensemble(upscale, photos, tmp_path):
    output = tmp_path / "large.png"
    upscale(photos / "a.png", "--output", output, "--scale", "2", "--self-ensemble")
    expected = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG, self_ensemble=True).upscale(
        tiny_model.photo(16, 20), scale=2
    )
    np.testing.assert_array_equal(images.read_rgb(output), expected)


def test_folder_with_a_bad_file(upscale, photos, tmp_path, capsys):
    (photos / "aa.png").write_bytes(b"broken")
    (photos / "notes.txt").write_text("ignored")
    with pytest.raises(UserError, match="1 of 3 images could not be upscaled"):
        upscale(photos, "--output", tmp_path / "out", "--size", "40x32")
    captured = capsys.readouterr()
    assert "error: cannot read" in captured.err
    assert "2 images in" in captured.out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert images.read(tmp_path / "out" / "b.png").rgb.shape == (32, 40, 3)


def test_overwriting_needs_the_flag(upscale, photos, tmp_path):
    target = tmp_path / "a.png"
    target.write_bytes(b"precious")
    with pytest.raises(UserError, match="exists already; pass --overwrite"):
        upscale(photos / "a.png", "--output", target, "--scale", "2")
    with pytest.raises(UserError, match="exists already; pass --overwrite"):
        upscale(photos / "a.png", "--output", tmp_path, "--scale", "2")
    assert target.read_bytes() == b"precious"
    upscale(photos / "a.png", "--output", target, "--scale", "2", "--overwrite")
    assert images.read(target).rgb.shape == (32, 40, 3)


def test_grey_alpha_and_16_bits_survive(upscale, tmp_path, capsys):
    source, output = tmp_path / "in", tmp_path / "out"
    rgb, alpha = tiny_model.photo(16, 20), np.zeros((16, 20), np.float32)
    alpha[:, 10:] = 1
    images.write(source / "alpha.png", images.Picture(rgb, alpha))
    images.write(source / "alpha.tif", images.Picture(rgb / np.float32(255), alpha, bits=16))
    grey = np.stack([rgb[..., 0]] * 3, -1)
    images.write(source / "grey.jpg", images.Picture(grey, grey=True))
    Image.fromarray(rgb).save(source / "pal.gif")
    upscale(source, "--output", output, "--scale", "2")
    assert "4 images in" in capsys.readouterr().out
    picture = images.read(output / "alpha.png")
    np.testing.assert_array_equal(picture.alpha[:, [0, 39]], [[0, 1]] * 32)
    assert images.read(output / "alpha.tif").bits == 16
    assert images.read(output / "alpha.tif").alpha is not None
    assert images.read(output / "grey.jpg").grey
    assert images.read(output / "pal.png").rgb.shape == (32, 40, 3)


def test_color_of_transparent_pixels_leaves_no_fringe(upscale, tmp_path):
    rgb, alpha = np.full((16, 20, 3), 200, np.uint8), np.ones((16, 20), np.float32)
    expected = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG).upscale(rgb, 2)
    rgb[:, :10], alpha[:, :10] = 0, 0
    images.write(tmp_path / "a.png", images.Picture(rgb, alpha))
    upscale(tmp_path / "a.png", "--output", tmp_path / "b.png", "--scale", "2")
    np.testing.assert_array_equal(images.read_rgb(tmp_path / "b.png"), expected)


def test_two_inputs_of_one_name(upscale, photos, tmp_path, capsys):
    Image.fromarray(tiny_model.photo(16, 20, 2)).save(photos / "a.gif")
    upscale(photos, "--output", tmp_path / "out", "--scale", "2")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a-gif.png", "a.png", "b.png"]
    upscale(photos / "a.png", "--output", tmp_path / "a.png", "--scale", "2")
    kept, alone = images.read_rgb(tmp_path / "out" / "a.png"), images.read_rgb(tmp_path / "a.png")
    np.testing.assert_array_equal(kept, alone)


@pytest.mark.parametrize(
    ("scale", "size", "target"),
    [
        ("3.7", None, {"scale": 3.7}),
        ("2x3", None, {"scale": (3, 2)}),
        (None, "640X480", {"size": (480, 640)}),
    ],
)
def test_scale_and_size_arguments(scale, size, target):
    assert parse(scale, size) == target


@pytest.mark.parametrize("scale", ["0.5", "nan", "inf", "31", "2x0.9", "two", "1x2x3", ""])
def test_impossible_scales(upscale, photos, tmp_path, scale):
    with pytest.raises(UserError, match=r"--scale"):
        upscale(photos, "--output", tmp_path / "out", "--scale", scale)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["100", "axb", "10x"])
def test_impossible_sizes(upscale, photos, tmp_path, size):
    with pytest.raises(UserError, match="write it like --size 1920x1080"):
        upscale(photos, "--output", tmp_path / "out", "--size", size)


def test_impossible_outputs(upscale, photos, tmp_path):
    with pytest.raises(UserError, match="is a file, but the input may be several"):
        upscale(photos, "--output", tmp_path / "a.png", "--scale", "2")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot create the folder"):
        upscale(photos, "--output", tmp_path / "file", "--scale", "2")


def test_demo(weights_file, tmp_path, capsys):
    __main__.main(["demo", "--output", str(tmp_path / "demo"), "--weights", weights_file])
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1] == str(tmp_path / "demo" / "side-by-side.png")
    assert any("PSNR-Y bicubic" in line for line in lines)
    assert any("PSNR-Y ours" in line for line in lines)
    truth, side = (
        images.read_rgb(tmp_path / "demo" / f"{n}.png") for n in ("truth", "side-by-side")
    )
    assert truth.shape == (256, 320, 3)
    assert side.shape[1] == 4 * 320 + 3 * 4
    np.testing.assert_array_equal(side[:256, -320:], truth)


@pytest.fixture
def evaluate(weights_file):
    return lambda *args: __main__.main(["eval", *map(str, args), "--weights", weights_file])


def test_eval_json(evaluate, tmp_path, capsys):
    folder = tmp_path / "Tiny"
    for name, seed in (("a", 0), ("b", 1)):
        images.write(folder / f"{name}.png", images.Picture(tiny_model.photo(33, 37, seed)))
    files = {"json": tmp_path / "s.json", "markdown": tmp_path / "s.md"}
    options = [x for name, path in files.items() for x in (f"--{name}", path)]
    evaluate("--data", folder, "--scales", 2, 1.5, *options, "--per-image")
    scores = json.loads(files["json"].read_text())
    assert list(scores) == ["Tiny"]
    assert list(scores["Tiny"]) == ["2", "1.5"]
    assert set(scores["Tiny"]["2"]) == {
        *("psnr_y", "ssim_y", "psnr_rgb", "images"),
        *("bicubic_psnr_y", "bicubic_ssim_y", "bicubic_psnr_rgb"),
    }
    each = [image["psnr_y"] for image in scores["Tiny"]["1.5"]["images"].values()]
    assert np.isclose(scores["Tiny"]["1.5"]["psnr_y"], np.mean(each))
    # Worked out once more: the cut, the LR image, the luma of ITU-R BT.601, the shaved border.
    truth = tiny_model.photo(33, 37, 1)[:32, :36]
    lr = imresize.resize_matlab(truth, (16, 18))
    upscaler = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG)
    outputs = {"": np.rint(np.float64(upscaler.upscale(np.float32(lr) / 255, 2)) * 255) / 255}
    outputs["bicubic_"] = imresize.resize_matlab(lr, (32, 36)) / 255
    for name, output in outputs.items():
        luma = (output - truth / 255) @ [65.481, 128.553, 24.966]
        psnr = -10 * np.log10(np.mean((luma[2:-2, 2:-2] / 255) ** 2))
        found = scores["Tiny"]["2"]["images"]["b.png"][f"{name}psnr_y"]
        np.testing.assert_allclose(found, psnr, rtol=1e-6)
    table = files["markdown"].read_text()
    assert table.strip() in capsys.readouterr().out
    assert len(table.splitlines()) == 2 + 2 * 3 + 2
    assert "both rounded to 8 bits" in table
    evaluate("--data", folder, "--scales", 2, "--json", tmp_path / "exact.json", "--unrounded")
    assert "scored as computed" in capsys.readouterr().out
    exact = json.loads((tmp_path / "exact.json").read_text())["Tiny"]["2"]
    for name in ("psnr_y", "bicubic_psnr_y"):
        assert 0 < abs(exact[name] - scores["Tiny"]["2"][name]) < 0.05


def test_eval_reads_lr_images(evaluate, tmp_path, capsys):
    images.write(tmp_path / "Tiny" / "a.png", images.Picture(tiny_model.photo(32, 36)))
    lr = tmp_path / "LR" / "Tiny" / "X2"
    with pytest.raises(UserError, match="no LR folder"):
        evaluate("--data", tmp_path / "Tiny", "--scales", 2, "--lr-dir", lr)
    images.write(lr / "other.png", images.Picture(tiny_model.photo(16, 18)))
    arguments = ["--data", tmp_path / "Tiny", "--scales", 2, "--json", tmp_path / "s.json"]
    arguments += ["--lr-dir", tmp_path / "LR" / "{data}" / "X{scale}"]
    with pytest.raises(UserError, match=r"no LR image of a\.png"):
        evaluate(*arguments)
    scores = []
    for seed in (0, 1):
        lr_image = tiny_model.photo(16, 18, seed)
        images.write(lr / "ax2.png", images.Picture(lr_image), overwrite=True)
        evaluate(*arguments)
        scores.append(json.loads((tmp_path / "s.json").read_text())["Tiny"]["2"]["psnr_y"])
    assert scores[0] != scores[1]


@pytest.mark.parametrize("kept", [False, True])
def test_no_broken_image_costs_the_scores_of_others(evaluate, tmp_path, capsys, kept):
    for name in ("Good", "Bad"):
        for seed in range(2):
            picture = images.Picture(tiny_model.photo(32, 36, seed))
            images.write(tmp_path / name / f"{seed}.png", picture)
    evaluate("--data", tmp_path / "Bad", "--scales", 2, 3, "--json", tmp_path / "whole.json")
    (tmp_path / "Bad" / "a.png").write_bytes(b"broken")
    images.write(tmp_path / "Bad" / "small.png", images.Picture(tiny_model.photo(2, 36)))
    data = ["--data", tmp_path / "Bad", tmp_path / "Good", "--scales", 2, 3]
    options = ["--json", tmp_path / "s.json"]
    options += ["--results", tmp_path / "scores"] if kept else []
    with pytest.raises(UserError, match="2 of 6 images could not be evaluated") as error:
        evaluate(*data, *options)
    assert re.search(r"a\.png x2 x3: cannot read .*no known format", str(error.value))
    assert re.search(r"small\.png x3: an image of 36x2 is too small for scale 3", str(error.value))
    found = json.loads((tmp_path / "s.json").read_text())
    assert [list(found[name]["2"]["images"]) for name in ("Bad", "Good")] == [
        ["0.png", "1.png"],
        ["0.png", "1.png"],
    ]
    assert found["Bad"]["3"] == json.loads((tmp_path / "whole.json").read_text())["Bad"]["3"]
    assert "| Good |" in capsys.readouterr().out


def test_an_interrupted_eval_prints_what_it_has(evaluate, tmp_path, monkeypatch, capsys):
    for seed in range(3):
        images.write(tmp_path / "a" / f"{seed}.png", images.Picture(tiny_model.photo(32, 36, seed)))
    measure, count = protocol.evaluate_image, iter(range(3))

    def interrupted(*args):
        if next(count) == 2:
            raise KeyboardInterrupt
        return measure(*args)

    monkeypatch.setattr(protocol, "evaluate_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate("--data", tmp_path / "a", "--scales", 2, "--per-image")
    out = capsys.readouterr().out
    assert "a/0.png" in out and "a/1.png" in out and "a/2.png" not in out


def test_what_is_wrong_is_said_once_and_first(upscale, photos, tmp_path, capfd):
    for command in (["verify", "nowhere"], ["dataset", "hr_folder", "nowhere"]):
        with pytest.raises(UserError, match="nowhere"):
            __main__.main(command)
        said = capfd.readouterr()
        assert said.out == "" and "Downloading" not in said.err
    for target in (["--width", "9" * 20], ["--fit", f"20x{2**31}"], ["--size", f"{'9' * 20}x20"]):
        with pytest.raises(UserError, match=f"{target[0]} .* is out of range: no image is longer"):
            upscale(photos / "a.png", "--output", tmp_path / "b.png", *target)
    with pytest.raises(UserError, match="size 9999999x"):
        upscale(photos / "a.png", "--output", tmp_path / "b.png", "--width", 9999999)
    assert "9999999" not in capfd.readouterr().err  # the exception says it


def test_eval_refuses(evaluate, tmp_path):
    for scale in (0.5, float("nan"), 31):
        with pytest.raises(UserError, match="out of range"):
            evaluate("--data", tmp_path, "--scales", scale)
    with pytest.raises(UserError, match="no folder"):
        evaluate("--data", tmp_path / "missing")
    with pytest.raises(UserError, match="no images in"):
        evaluate("--data", tmp_path)


def test_process_exits_with_one_line(tmp_path):
    command = [sys.executable, "-m", "gaussiansr_jax", "upscale", "missing.png", "--output", "x"]
    result = subprocess.run(
        [*command, "--scale", "2"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert result.returncode == 1
    assert result.stderr == "error: no file or folder missing.png; check the name\n"


def test_package_imports_no_jax():
    code = "import sys, gaussiansr_jax; print('jax' in sys.modules, gaussiansr_jax.__version__)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.split()[0] == "False"
    assert gsr.load is not None
    assert gsr.build(tiny_model.CONFIG).receptive_radius > 0
    with pytest.raises(AttributeError, match="missing"):
        gsr.missing  # noqa: B018


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["--help"])
    text = capsys.readouterr().out
    assert all(command in text for command in __main__.COMMANDS)


def test_the_list_of_models(capsys):
    __main__.main(["models"])
    text = capsys.readouterr().out
    assert f"{weights.DEFAULT_WEIGHTS} (the default)" in text and "hf:owner/name" in text


def test_default_weights_are_a_shipped_name():
    assert weights.DEFAULT_WEIGHTS in [model.name for model in loading.shipped()]
    _, config, _ = loading.resolve(weights.DEFAULT_WEIGHTS)
    assert config["head"]["name"] == "direct"


def test_a_device_that_does_not_start_is_no_matter_yet(monkeypatch):
    def fail(_):
        raise RuntimeError("no device")

    monkeypatch.setattr(startup.jax, "device_put", fail)
    startup._wake_device()


def test_compilation_cache(monkeypatch, tmp_path):
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        startup.start_jax()
        assert jax.config.jax_compilation_cache_dir is None
        monkeypatch.setenv("GAUSSIANSR_JAX_CACHE", str(tmp_path))
        startup.start_jax()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
        assert jax.config.jax_persistent_cache_min_compile_time_secs == 0
        monkeypatch.setenv("GAUSSIANSR_JAX_CACHE", str(tmp_path / "other"))
        startup.start_jax()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def test_eval_in_shares_measures_each_image_once(evaluate, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "Tiny"
    for seed in range(3):
        images.write(folder / f"{seed}.png", images.Picture(tiny_model.photo(33, 37, seed)))
    data = ["--data", folder, "--scales", 2, 1.5]
    evaluate(*data, "--json", tmp_path / "whole.json")
    results = ["--results", tmp_path / "scores"]
    capsys.readouterr()
    evaluate(*data, *results, "--share", "1/2")
    assert capsys.readouterr().out == "share 1 of 2 is done; 3 scores are still missing\n"
    # A crash cut the last line off: that image alone is measured again, whatever the shares.
    (file,) = (tmp_path / "scores").glob("scores-*")
    file.write_bytes(file.read_bytes()[:-20])
    measured = []
    measure = protocol.evaluate_image
    monkeypatch.setattr(protocol, "evaluate_image", lambda *a: (measured.append(a), measure(*a))[1])
    for number in range(3):
        evaluate(*data, *results, "--share", f"{number}/3", "--json", tmp_path / "merged.json")
    assert len(measured) == 4
    whole, merged = ((tmp_path / f"{name}.json").read_text() for name in ("whole", "merged"))
    assert json.loads(whole) == json.loads(merged)
    with pytest.raises(UserError, match="holds scores with self_ensemble=False, not True"):
        evaluate(*data, *results, "--self-ensemble")
    with pytest.raises(UserError, match="--share needs --results"):
        evaluate(*data, "--share", "0/2")
    with pytest.raises(UserError, match=r"--share is '2/2'; give INDEX/COUNT"):
        evaluate(*data, *results, "--share", "2/2")


def test_upscale_in_shares_does_each_image_once(upscale, tmp_path, capsys):
    for seed in range(3):
        images.write(tmp_path / "in" / f"{seed}.png", images.Picture(tiny_model.photo(8, 9, seed)))
    found = []
    for number in range(2):
        upscale(
            tmp_path / "in", "--scale", 2, "--output", tmp_path / "out", "--share", f"{number}/2"
        )
        found.append(sorted(path.name for path in (tmp_path / "out").iterdir()))
    assert found == [["0.png", "2.png"], ["0.png", "1.png", "2.png"]]
