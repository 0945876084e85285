"""The library as users run it: XLA's own optimizations, JAX's default precision and promotion.

All other tests compile quickly, multiply matrices in full precision and promote types strictly,
which may hide what only the defaults show.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gaussiansr_jax import images
from gaussiansr_jax.commands.demo import photograph
from gaussiansr_jax.evaluation import imresize, metrics

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments):
    """A process without the tests' settings; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    process = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.parametrize(
    ("weights", "gain"),
    [("gaussiansr-direct-edsr-baseline", 1.5), ("gaussiansr-edsr-baseline", 1.0)],
)
def test_shipped_weights_beat_bicubic_on_a_photograph(tmp_path, weights, gain):
    truth = photograph()[60:156, 60:186]  # the cat's eye
    lr = imresize.resize_matlab(truth, (32, 42))
    images.write(tmp_path / "lr.png", images.Picture(lr))
    options = ("--output", tmp_path / "sr.png", "--size", "126x96", "--weights", weights)
    run("-m", "gaussiansr_jax", "upscale", tmp_path / "lr.png", *options)
    outputs = [images.read_rgb(tmp_path / "sr.png"), imresize.resize_matlab(lr, (96, 126))]
    ours, bicubic = (metrics.psnr_y(output / 255, truth / 255, 3) for output in outputs)
    assert ours > bicubic + gain


@pytest.mark.processes
def test_a_few_steps_of_training_learn(tmp_path):
    for seed in range(3):
        coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
        smooth = Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)
        smooth.save(tmp_path / f"{seed}.png")
    settings = {"source": f"folder:{tmp_path}", "val_images": 1, "val_crop": 48, "tile_size": 64}
    settings |= {"lr_size": 16, "query_size": 16, "steps": 20, "log_every": 5, "warmup_steps": 0}
    settings |= {"model.encoder.blocks": 1, "model.encoder.channels": 8}
    options = [f"--config.{name}={value}" for name, value in settings.items()]
    workdir = tmp_path / "run"
    run("train.py", "--config=configs/quickstart.py", f"--workdir={workdir}", *options)
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 4 and losses[-1] < 0.8 * losses[0]
    assert (workdir / "model.safetensors").is_file()
