"""Each script of examples/ runs and makes what it says."""

import runpy
import sys
from pathlib import Path

import pytest
import tiny_model
from PIL import Image

from gaussiansr_jax import images
from gaussiansr_jax.models import registry

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def run(monkeypatch, capsys):
    def run(name, *args):
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def weights(tmp_path):
    tiny_model.save(tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def photos(folder, count, side=64):
    for seed in range(count):
        images.write(folder / f"{seed}.png", images.Picture(tiny_model.photo(side, side, seed)))
    return folder


def test_all_examples_are_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {
        name.removeprefix("test_") for name in globals() if (EXAMPLES / f"{name[5:]}.py").is_file()
    }


def test_enlarge_folder(run, tmp_path, weights):
    source = photos(tmp_path / "in", 2, 20)
    text = run("enlarge_folder.py", source, tmp_path / "out", "--scale", 1.5, "--weights", weights)
    assert "20x20 to 30x30" in text
    assert images.read_rgb(tmp_path / "out" / "1.png").shape == (30, 30, 3)


@pytest.mark.processes
@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_zoom_animation(run, tmp_path, weights, suffix):
    if suffix == ".mp4":
        av = pytest.importorskip("av")
    photos(tmp_path, 1)
    target = tmp_path / f"zoom{suffix}"
    settings = ("--size", 40, "--frames", 4, "--to", 3, "--weights", weights)
    assert "4 frames of 40x40" in run("zoom_animation.py", tmp_path / "0.png", target, *settings)
    if suffix == ".gif":
        with Image.open(target) as film:
            assert (film.n_frames, film.size) == (4, (40, 40))
    else:
        with av.open(str(target)) as film:
            assert len(list(film.decode(video=0))) == 4


@pytest.mark.processes
def test_finetune(run, tmp_path, weights):
    folder = photos(tmp_path / "photos", 3, 256)
    text = run("finetune.py", folder, tmp_path / "run", "--steps", 2, "--weights", weights)
    assert "held-out PSNR-Y" in text
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.processes
def test_new_head(run, monkeypatch):
    monkeypatch.setattr(registry, "HEADS", dict(registry.HEADS))  # the example adds one
    assert "(64, 64, 3) to (173, 173, 3)" in run("new_head.py", "--steps", 2)


@pytest.mark.processes
def test_splatting_by_hand(run, tmp_path):
    pytest.importorskip("matplotlib")
    lines = run("splatting_by_hand.py", tmp_path / "plot.png").splitlines()
    assert float(lines[0].split(": ")[1]) < 1e-5
    assert float(lines[1].split(": ")[1]) < 1e-2
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.size == (600, 504)
