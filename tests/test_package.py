"""The wheel works without the repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny_model

import gaussiansr_jax as gsr
from gaussiansr_jax import images

pytestmark = pytest.mark.processes
ROOT = Path(__file__).resolve().parents[1]
TINY = (
    "--config.model.encoder.channels=4",
    "--config.model.encoder.blocks=1",
    "--config.model.head.trunk_channels=4",
    "--config.val_images=1",
    "--config.val_crop=48",
    "--config.lr_size=8",
    "--config.query_size=8",
    "--config.batch_size=8",
    "--config.warmup_steps=0",
)
FILES = ("gaussiansr_jax", "configs", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")


def pip(*args):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *args]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy, so that nothing is left in the repository."""
    pytest.importorskip("setuptools", minversion="77")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in FILES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(source))
    (file,) = target.glob("*.whl")
    return file


def test_the_wheel_holds_what_a_user_needs(wheel):
    assert wheel.name.startswith(f"gaussiansr_jax-{gsr.__version__}-py3")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "gaussiansr = gaussiansr_jax.__main__:console" in archive.read(entry).decode()
    assert {"gaussiansr_jax/py.typed", "gaussiansr_jax/configs/quickstart.py"} <= names
    assert f"gaussiansr_jax/shipped/{gsr.DEFAULT_WEIGHTS}.safetensors" in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]


def test_the_installed_wheel_upscales_without_the_repository(wheel, tmp_path):
    site = tmp_path / "site"
    pip("install", "--no-deps", "--target", str(site), str(wheel))
    images.write(tmp_path / "a.png", images.Picture(tiny_model.photo(12, 16)))
    # Not the working tree's, which an editable installation would add.
    start = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import gaussiansr_jax; "
        f"assert gaussiansr_jax.__file__.startswith({str(site)!r}); "
    )
    console = "from gaussiansr_jax.__main__ import console; console()"

    def run(*args, code=console):
        command = [sys.executable, "-P", "-c", start + code, *args]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert run("--version").strip() == gsr.__version__
    for config in sorted((ROOT / "configs").glob("*.py")):
        run(code=f"from gaussiansr_jax.configs import {config.stem} as c; c.get_config()")
    run("train", "--config=quickstart", "--workdir=run", "--config.steps=1", *TINY)
    assert (tmp_path / "run" / "model.safetensors").is_file()
    run("upscale", "a.png", "--output", "b.png", "--scale", "1.5")
    assert images.read_rgb(tmp_path / "b.png").shape == (18, 24, 3)
    expected = gsr.load().upscale(tiny_model.photo(12, 16), scale=1.5)
    difference = np.abs(images.read_rgb(tmp_path / "b.png").astype(int) - expected)
    assert difference.max() <= 1
