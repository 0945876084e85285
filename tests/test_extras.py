"""A light installation upscales; what only an extra installs is asked for in one sentence."""

import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tiny_model

import gaussiansr_jax as gsr
from gaussiansr_jax import UserError, images, loading, training
from gaussiansr_jax.commands import demo
from gaussiansr_jax.data.sources import find_images

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
MODULES = {"scikit-image": "skimage"}  # of others it is the name with _ for -
WITH_FLAX = {"optax", "orbax-checkpoint", "absl-py"}  # it installs and imports them itself


def test_requirements_are_those_of_upscaling_and_training():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = [line.split("#")[0].strip() for line in lines]
    expected = {*PROJECT["dependencies"], *EXTRAS["train"], *EXTRAS["demo"]}
    assert sorted(filter(None, listed)) == sorted(expected)


def test_upscaling_needs_no_extra(tmp_path):
    own = {name for extra in EXTRAS if extra != "dev" for name in EXTRAS[extra]}
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in own} - WITH_FLAX
    blocked = [MODULES.get(name, name.replace("-", "_")) for name in names]
    assert {"skimage", "tensorflow_datasets", "tensorboardX", "ml_collections", "chex"} < {*blocked}
    tiny_model.save(tmp_path / "tiny.safetensors")
    image = tiny_model.photo(12, 16)
    images.write(tmp_path / "a.png", images.Picture(image))
    code = (
        f"import sys; sys.modules |= dict.fromkeys({blocked}); "
        "from gaussiansr_jax.__main__ import main; main()"
    )
    command = ["upscale", "a.png", "--output", "b.png", "--scale", "1.5"]
    line = [sys.executable, "-c", code, *command, "--weights", "tiny.safetensors"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    expected = gsr.Upscaler(tiny_model.params(), tiny_model.CONFIG).upscale(image, 1.5)
    np.testing.assert_array_equal(images.read_rgb(tmp_path / "b.png"), expected)


@pytest.mark.parametrize(
    ("module", "extra", "use"),
    [
        ("skimage", "demo", demo.photograph),
        ("skimage", "train", lambda: find_images("samples")),
        ("tensorflow_datasets", "train", lambda: find_images("tfds:div2k")),
        ("optax", "train", lambda: loading.resolve(ROOT)),
    ],
)
def test_a_missing_extra_is_one_sentence(monkeypatch, module, extra, use):
    for name in ("checkpoints", "state"):  # as if nothing had imported them yet
        monkeypatch.delitem(sys.modules, f"gaussiansr_jax.training.{name}", raising=False)
        monkeypatch.delattr(training, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install 'gaussiansr-jax\[{extra}\]'") as error:
        use()
    assert "\n" not in str(error.value)


def test_training_without_its_extra_exits_with_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ml_collections", None)
    monkeypatch.delitem(sys.modules, "gaussiansr_jax.commands.train", raising=False)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert stopped.value.code == 1
    assert capsys.readouterr().err == (
        "error: training needs the package ml_collections; "
        "install it with: pip install 'gaussiansr-jax[train]'\n"
    )
