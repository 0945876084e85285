"""Folders of pictures: nothing ends a run, nothing is lost, the end says what became of each."""

import sys

import numpy as np
import pytest
import tifffile
import tiny_model
from PIL import Image

import gaussiansr_jax as gsr
from gaussiansr_jax import UserError, __main__, errors, images
from gaussiansr_jax.commands.helpers import progress
from gaussiansr_jax.commands.helpers.target import Target, parse
from gaussiansr_jax.images.metadata import Metadata
from gaussiansr_jax.upscaling import arguments, sheets


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    return str(tiny_model.save(tmp_path_factory.mktemp("weights") / "tiny.safetensors"))


@pytest.fixture
def run(weights_file, monkeypatch):
    monkeypatch.setenv("GAUSSIANSR_JAX_CACHE", "")
    return lambda *args: __main__.main(["upscale", *map(str, args), "--weights", weights_file])


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "deep" / "er").mkdir(parents=True)
    for place in ("a.png", "deep/b.png", "deep/er/a.png"):
        Image.fromarray(tiny_model.photo(16, 20)).save(folder / place)
    (folder / "notes.txt").write_text("no image")
    return folder


def written(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_no_file_ends_a_run(run, photos, tmp_path, capsys, monkeypatch):
    (photos / "broken.png").write_bytes(b"broken")
    Image.fromarray(tiny_model.photo(2, 600)).save(photos / "wide.webp", lossless=True)
    Image.fromarray(tiny_model.photo(17, 20)).save(photos / "strange.png")
    upscaled = gsr.Upscaler.upscale

    def fails(self, image, *args, **options):
        if image.shape[0] == 17:
            raise ZeroDivisionError("nobody expected this")
        return upscaled(self, image, *args, **options)

    monkeypatch.setattr(gsr.Upscaler, "upscale", fails)
    with pytest.raises(UserError, match="3 of 4 images could not be upscaled") as error:
        run(photos, "--output", tmp_path / "out", "--scale", "30")
    said = str(error.value)
    assert "broken.png" in said and "wide.webp" in said and "16383" in said
    assert "ZeroDivisionError: nobody expected this" in said
    assert written(tmp_path / "out") == ["a.png"]
    out = capsys.readouterr().out
    assert "notes.txt" in out and "skipped" in out


def test_limits_of_formats_are_known_before_any_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "read", None)
    monkeypatch.setattr(gsr.Upscaler, "upscale", None)
    for name, size in (("a.webp", (600, 2)), ("a.jpg", (2200, 2))):
        Image.new("RGB", size).save(tmp_path / name)
        with pytest.raises(UserError, match="holds no more than"):
            run(tmp_path / name, "--output", tmp_path / f"b{name[1:]}", "--scale", "30")


def test_recursive_keeps_the_structure(run, photos, tmp_path):
    out = photos / "out"  # inside: results are not taken for inputs
    run(photos, "--output", out, "--scale", "2")
    assert written(out) == ["a.png"]
    run(photos, "--output", out, "--scale", "2", "--recursive", "--skip-existing")
    assert written(out) == ["a.png", "deep/b.png", "deep/er/a.png"]


ENDINGS = ["png", "jpg", "webp", "tif", "bmp", "avif"]


def test_skip_existing(run, photos, tmp_path, capsys):
    out = tmp_path / "out"
    mine = tiny_model.photo(32, 40, 5)
    images.write(out / "a.png", images.Picture(mine))
    Image.fromarray(tiny_model.photo(16, 20)).save(photos / "c.png")
    run(photos, "--output", out, "--scale", "2", "--skip-existing")
    np.testing.assert_array_equal(images.read_rgb(out / "a.png"), mine)
    assert written(out) == ["a.png", "c.png"]
    assert "skipped, because the result exists: 1 (" in capsys.readouterr().out
    run(photos, "--output", out, "--scale", "3", "--skip-existing")
    said = capsys.readouterr()
    assert "2 images in" in said.out and "a.png: is incomplete or of another size" in said.err
    assert images.read_size(out / "a.png") == (48, 60)


@pytest.mark.parametrize("ending", ENDINGS)
def test_skip_existing_makes_broken_results_again(run, photos, tmp_path, capsys, ending):
    out = tmp_path / "out"
    command = [photos, "--output", out, "--scale", "2", "--format", ending, "--skip-existing"]
    run(*command)
    result = out / f"a.{ending}"
    content = result.read_bytes()
    other = "bmp" if ending == "png" else "png"
    images.write(tmp_path / f"other.{other}", images.Picture(tiny_model.photo(32, 40)))
    foreign = (tmp_path / f"other.{other}").read_bytes()
    cuts = [content[:n] for n in (0, 1, 12, len(content) // 2, len(content) - 1)]
    for broken in (*cuts, b"mine", foreign):
        result.write_bytes(broken)
        run(*command)
        assert result.read_bytes() == content
        assert "skipped, because the result" not in capsys.readouterr().out
    run(*command)
    assert "skipped, because the result exists: 1 (" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_what_is_written_is_whole(tmp_path, ending, bits):
    exif = Image.Exif()
    exif[0x010E], exif[0x8769] = "a cat", {0x9003: "2020:02:03 04:05:06"}
    rgb = tiny_model.photo(9, 12) if bits == 8 else np.zeros((9, 12, 3), np.float32)
    picture = images.Picture(rgb, bits=bits, metadata=Metadata(exif=exif.tobytes(), dpi=(99, 99)))
    path = tmp_path / f"a.{ending}"
    images.write(path, picture)
    assert images.is_whole(path, (9, 12)) and not images.is_whole(path, (12, 9))


def test_the_input_is_never_replaced(run, photos):
    before = (photos / "a.png").read_bytes()
    with pytest.raises(UserError, match="is the input itself"):
        run(photos / "a.png", "--output", photos, "--scale", "2", "--overwrite")
    assert (photos / "a.png").read_bytes() == before
    run(photos / "a.png", "--output", photos, "--scale", "2", "--suffix=-x2")
    assert (photos / "a-x2.png").is_file()


def test_format_quality_and_suffix(run, photos, tmp_path):
    sizes = []
    for quality in (20, 90):
        out = tmp_path / str(quality)
        options = ["--format", "jpg", "--quality", quality, "--suffix", "_big"]
        run(photos, "--output", out, "--scale", "2", *options)
        assert written(out) == ["a_big.jpg"]
        sizes.append((out / "a_big.jpg").stat().st_size)
    assert sizes[0] < sizes[1]
    with pytest.raises(UserError, match="--quality 0"):
        run(photos, "--output", tmp_path, "--scale", "2", "--quality", "0")


def test_transparency_in_a_format_without_it(run, tmp_path):
    source = tmp_path / "in"
    alpha = np.ones((16, 20), np.float32) / 2
    images.write(source / "a.png", images.Picture(tiny_model.photo(16, 20), alpha))
    with pytest.raises(UserError, match="holds no transparency"):
        run(source, "--output", tmp_path / "out", "--scale", "2", "--format", "jpg")


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_out(run, photos, tmp_path, ending):
    run(photos / "a.png", "--output", tmp_path / f"big.{ending}", "--scale", "2")
    assert images.read_size(tmp_path / f"big.{ending}") == (32, 40)


def test_unknown_output_endings_are_refused(run, photos, tmp_path):
    for name in ("out.xyz", "out.heic", "out.gif"):
        with pytest.raises(UserError, match="no image format that can be written"):
            run(photos / "a.png", "--output", tmp_path / name, "--scale", "2")
        assert not (tmp_path / name).exists()
    run(photos, "--output", f"{tmp_path}/v1.2/", "--scale", "2")
    assert written(tmp_path / "v1.2") == ["a.png"]


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (["--width", "50"], (40, 50)),
        (["--height", "60"], (60, 75)),
        (["--fit", "50x100"], (40, 50)),
        (["--fit", "100x33"], (33, 41)),
    ],
)
def test_sizes_that_keep_the_proportions(run, photos, tmp_path, capsys, options, size):
    run(photos / "a.png", "--output", tmp_path / "b.png", *options)
    assert images.read_size(tmp_path / "b.png") == size
    assert "stretches" not in capsys.readouterr().err


def test_stretching_is_said(run, photos, tmp_path, capsys):
    run(photos / "a.png", "--output", tmp_path / "b.png", "--size", "40x100")
    assert "stretches it, x2 in width and x6.25 in height" in capsys.readouterr().err
    assert Target(size=(32, 40)).note((16, 20)) is None
    for wrong in ("--width 0", "--width ten", "--fit 10", "--fit 0x5", "--height -3"):
        with pytest.raises((UserError, SystemExit)):
            run(photos / "a.png", "--output", tmp_path / "c.png", *wrong.split())
    with pytest.raises(UserError, match="size 10x8 is not possible"):
        run(photos / "a.png", "--output", tmp_path / "c.png", "--width", "10")


def test_names_are_unique_on_every_file_system(tmp_path):
    from pathlib import Path

    names = images.Names().plan([Path(p) for p in ("A.gif", "a.png", "a.tga", "a.PNG", "x/a.gif")])
    assert [str(name) for name in names] == [
        "A-gif.png",
        "a.png",
        "a-tga.png",
        "a-2.PNG",
        "x/a.png",
    ]


def test_animations_whole(run, tmp_path, capsys):
    frames = [Image.fromarray(tiny_model.photo(16, 20, seed)) for seed in range(3)]
    options = {"save_all": True, "append_images": frames[1:], "duration": [50, 70, 90], "loop": 0}
    frames[0].save(tmp_path / "a.webp", lossless=True, **options)
    run(tmp_path / "a.webp", "--output", tmp_path / "first.png", "--scale", "2")
    assert "only the first of 3 frames" in capsys.readouterr().err
    for ending in ("png", "webp"):
        out = tmp_path / f"b.{ending}"
        run(tmp_path / "a.webp", "--output", out, "--scale", "2", "--frames", "all")
        with Image.open(out) as image:
            assert (image.n_frames, image.size) == (3, (40, 32))
            for index, duration in enumerate((50, 70, 90)):
                image.seek(index)
                image.load()
                assert image.info["duration"] == duration
        first = images.read_rgb(tmp_path / "first.png")
        np.testing.assert_array_equal(images.read_rgb(out), first)
    with pytest.raises(UserError, match="one frame only"):
        run(tmp_path / "a.webp", "--output", tmp_path / "b.jpg", "--scale", "2", "--frames", "all")


def test_pages_whole(run, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(tiny_model.photo(16, 20), photometric="rgb")
        file.write(tiny_model.photo(18, 22)[..., 0].astype("u2") * 257)
    run(tmp_path / "a.tif", "--output", tmp_path / "b.tif", "--scale", "2", "--frames", "all")
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert [page.shape for page in file.pages] == [(32, 40, 3), (36, 44)]


def test_floats_and_16_bits_go_through(run, tmp_path):
    unit = tiny_model.photo(16, 20).astype(np.float32) / 255
    tifffile.imwrite(tmp_path / "a.tif", unit, photometric="rgb")
    run(tmp_path / "a.tif", "--output", tmp_path / "out", "--scale", "2")
    result = tifffile.imread(tmp_path / "out" / "a.tif")
    assert result.dtype == np.float32 and result.shape == (32, 40, 3)


def test_memory_counts_the_write(run, photos, tmp_path, monkeypatch):
    # The result alone would fit.
    monkeypatch.setattr(arguments, "available_bytes", lambda: 32 * 40 * 3 + 1)
    with pytest.raises(UserError, match="an output of 40x32 needs"):
        run(photos / "a.png", "--output", tmp_path / "b.png", "--scale", "2")


def test_large_images_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(tiny_model.photo(16, 20)).save(tmp_path / "a.png")
    assert images.read_size(tmp_path / "a.png") == images.read_rgb(tmp_path / "a.png").shape[:2]
    assert Image.MAX_IMAGE_PIXELS == 100


def test_log_files_get_a_line_now_and_then(monkeypatch, capsys):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert list(progress.progress(range(10), "folder")) == list(range(10))
    lines = capsys.readouterr().err.splitlines()
    assert lines and all("\r" not in line and "of 10 images done" in line for line in lines)
    assert len(lines) < 5
    assert not sys.stderr.isatty()


def test_small_images_are_encoded_together(run, tmp_path, monkeypatch, capsys):
    for name, value in {"SHEET": 96, "LARGEST": 48, "_SHEET_STEP": 32, "_IMAGE_STEP": 16}.items():
        monkeypatch.setattr(sheets, name, value)
    folder, expected = tmp_path / "in", {}
    folder.mkdir()
    upscaler = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG)
    for index in range(14):
        photo = tiny_model.photo(20 + index, 44 - 2 * index, index)
        Image.fromarray(photo).save(folder / f"{index}.png")
        expected[f"{index}.png"] = upscaler.upscale(photo, 1.5)
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:-40])  # its header is whole
    del expected["3.png"]
    made = []
    encode = sheets.Sheet.__init__
    monkeypatch.setattr(
        sheets.Sheet, "__init__", lambda self, *a: made.append(len(a[1])) or encode(self, *a)
    )
    with pytest.raises(UserError, match=r"1 of 14 images .*\n.*3\.png"):
        run(folder, "--output", tmp_path / "out", "--scale", "1.5")
    assert sum(made) > 6 and len(made) < 4
    assert "13 images in" in capsys.readouterr().out
    for name, rgb in expected.items():
        written_rgb = images.read_rgb(tmp_path / "out" / name)
        assert np.abs(written_rgb.astype(int) - rgb).max() <= 1


def test_arguments_of_targets():
    assert Target(box=(None, 100)).of((30, 50)) == {"size": (60, 100)}
    assert parse("2", None) == {"scale": 2}


def test_a_name_that_is_too_long_ends_no_run(run, photos, tmp_path, capsys):
    """File systems take 255 bytes, which the suffix exceeds."""
    (photos / "a.png").rename(photos / f"{'n' * 251}.png")
    Image.fromarray(tiny_model.photo(16, 20)).save(photos / "b.png")
    with pytest.raises(UserError, match=r"1 of 2 images .*\n.* failed: .*-x2.png: File name too"):
        run(photos, "--output", tmp_path / "out", "--scale", "2", "--suffix=-x2")
    assert written(tmp_path / "out") == ["b-x2.png"]
    with pytest.raises(SystemExit), errors.errors_printed():
        run(photos / "b.png", "--output", tmp_path / f"{'n' * 300}.png", "--scale", "2")
    assert capsys.readouterr().err.endswith(f"{'n' * 300}.png: File name too long\n")


def test_empty_names_are_not_the_current_folder(run, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    with pytest.raises(UserError, match="name of an input is empty"):
        run("", "--output", tmp_path / "out", "--scale", "2")
    with pytest.raises(UserError, match="--output is empty"):
        run("a.png", "--output", "", "--scale", "2", "--suffix=-x2")
    assert written(photos) == ["a.png", "deep/b.png", "deep/er/a.png", "notes.txt"]
