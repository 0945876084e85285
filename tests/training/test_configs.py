"""Every file of configs/ is a config that training accepts."""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from gaussiansr_jax.commands import train
from gaussiansr_jax.commands.helpers.train_help import train_help
from gaussiansr_jax.configs import variants
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.training.changes import FREE, STEERING
from gaussiansr_jax.training.config import check_config, default_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(p.stem for p in (ROOT / "configs").glob("*.py"))


@pytest.fixture(autouse=True)
def root_on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def test_help_lists_flags_and_settings():
    text = train_help(train.OWN, None)
    for flag in ("workdir", "distributed", "num_processes", "start_timeout"):
        assert f"  --{flag}" in text
    for name, value in default_config().items():
        assert name == "model" or f"    --config.{name}={value}\n" in text + "\n"
    assert "--config.model.encoder.blocks=16\n" in text
    assert "Samples of a step over all devices.\n    --config.batch_size=16\n" in text


def test_help_shows_the_values_of_a_config():
    # With quotes as the help says; and no other process is waited for.
    arguments = "--help --config quickstart --config.steps=7 '--config.val_scales=(2, 3.5)'"
    line = [sys.executable, "train.py", *shlex.split(arguments)]
    environment = {**os.environ, "JAX_NUM_PROCESSES": "2"}
    ended = subprocess.run(line, cwd=ROOT, env=environment, text=True, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    for shown in ("steps=7", "val_scales=(2, 3.5)", "model.encoder.blocks=4", "batch_size=8"):
        assert f"    --config.{shown}\n" in ended.stdout
    assert "'--config.val_scales=(2, 3.5)'" in ended.stdout


def source(module):
    return Path(module.__file__).read_text().splitlines()


@pytest.mark.parametrize("name", CONFIGS)
def test_config(name):
    module = import_module(f"configs.{name}")
    check_config(module.get_config())
    assert f"--config configs/{name}.py" in module.__doc__
    # Each is whole by itself: in the wheel there is no package `configs`.
    assert "configs" not in {line.split()[1] for line in source(module) if line[:4] == "from"}


def test_docs_name_variants_that_exist():
    text = (ROOT / "docs/experiments.md").read_text()
    table = text.split("| comparison | variants |")[1].split("\n\n")[0]
    named = re.findall(r"`([^`]+)`", "".join(row.split("|")[2] for row in table.splitlines()[2:]))
    assert len(named) > 8 and set(named) <= set(variants.VARIANTS)


def test_the_help_shows_the_values_of_a_variant():
    path = train._path("variants:200 kernels")
    assert path == f"{train.CONFIGS / 'variants.py'}:200 kernels"
    line = [sys.executable, "train.py", "--help", "--config", "variants:200 kernels"]
    ended = subprocess.run(line, cwd=ROOT, text=True, capture_output=True)
    assert "    --config.model.head.kernels=200\n" in ended.stdout, ended.stderr


@pytest.mark.parametrize("factors", [(), (0.5,), (1.0, float("inf")), ("half",)])
def test_reductions_must_be_factors_from_1_on(factors):
    config = default_config()
    with config.ignore_type():
        config.reductions = factors
    with pytest.raises(UserError, match=r"reductions is .* factors of at least 1"):
        check_config(config)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("model.head.window", 4, r"window of head gaussiansr is 4; it must be an odd"),
        ("model.head.selection", "hardest", r"unknown selection 'hardest' of head gaussiansr"),
        ("model.head.kernels", 0, r"kernels of head gaussiansr is 0; .* from 1 on"),
        ("model.head.sigma_range", (0.2,), r"sigma_range .* must be 2 finite numbers"),
        ("model.head.splat_channels", 65, r"splat_channels .* is 65; .* has 64 channels"),
        ("model.head.splatting", "official", r"official.* cannot be trained here"),
        ("model.finest_cell", 0.3, r"finest_cell .* is 0.3, .* of 0.25; make it 1 / 4, or 0"),
        ("model.encoder.blocks", "many", r"blocks of encoder edsr-baseline is 'many'"),
        ("warmup_steps", 60_001, r"warmup_steps=60001 is longer than the run of steps=60000"),
        ("seed", -1, "seed is -1; it must lie between 0 and"),
        ("seed", 10**20, "seed is 1000.*; it must lie between 0 and"),
        ("learning_rate", float("inf"), "learning_rate is inf; it must be finite"),
        ("milestones", (0.5, float("nan")), "milestones .* must be finite"),
        ("milestones", ("half",), "milestones .* must be fractions of the run"),
        ("val_scales", 2, "val_scales is 2; it must be a sequence"),
        ("val_scales", (), "val_scales is empty"),
        ("val_scales", (0.5,), r"val_scales holds 0\.5; scales go from 1 to 30"),
        ("val_scales", ("two",), "val_scales holds 'two'"),
        ("val_crop", 6, r"val_crop=6 is too small to be judged at scale 3"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_read(name, value, words):
    config = default_config()
    with config.ignore_type():
        *parts, last = name.split(".")
        owner = config
        for part in parts:
            owner = owner[part]
        with owner.unlocked():
            owner[last] = value
    with pytest.raises(UserError, match=words):
        check_config(config)


def test_fractional_scales_may_be_judged():
    config = default_config()
    config.val_scales, config.val_crop = (1.5, 2.7), 100
    check_config(config)


def test_docs_name_the_settings_that_may_change():
    lines = (ROOT / "docs/data.md").read_text().splitlines()
    rows = [line for line in lines if "| the run continues" in line]
    where, how = (set(re.findall(r"`(\w+)`", row.split("|")[1])) for row in rows[:2])
    of_images = {"source", "val_source", "val_images", "skip_bad_images"}
    assert where == FREE - of_images and how == STEERING
    assert set(default_config()) > FREE | STEERING
