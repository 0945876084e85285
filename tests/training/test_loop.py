"""The loop as a whole: learning, resuming, stopping."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from absl.testing import flagsaver
from ml_collections import ConfigDict
from PIL import Image

from gaussiansr_jax import weights
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.training import initialization, loop
from gaussiansr_jax.training import workdir as files
from gaussiansr_jax.training.checkpoints import load_best
from gaussiansr_jax.training.config import to_json

ROOT = Path(__file__).resolve().parents[2]


def metrics(workdir, name):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def leaves(workdir):
    params, _, _ = load_best(workdir)
    return jax.tree.leaves(params)


@pytest.fixture
def config(make_config):
    config = make_config()
    config.update(learning_rate=5e-3, schedule="cosine", ema_decay=0.8)
    return config


@pytest.fixture(scope="module")
def whole(make_config, tmp_path_factory):
    """A finished run of 30 steps."""
    config = make_config()
    config.update(learning_rate=5e-3, schedule="cosine", ema_decay=0.8)
    workdir = tmp_path_factory.mktemp("whole")
    loop.train(config, workdir)
    return workdir


def test_thirty_steps_learn_and_leave_everything_behind(config, whole):
    params, model, facts = weights.load(whole / "model.safetensors")
    loss, psnr = metrics(whole, "loss"), metrics(whole, "val_psnr_mean")
    assert loss[30] < loss[5] and psnr[30] > psnr[15]
    assert facts["step"] == 30 and facts["val_psnr_y"]["mean"] == round(psnr[30], 3)
    assert model == to_json(config)["model"]
    for a, b in zip(jax.tree.leaves(params), leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    with Image.open(whole / "samples" / "step_0000030.png") as sheet:
        assert sheet.size == (4 * 24, 24)
    assert (whole / "samples" / "step_0000000.png").is_file()
    assert list((whole / "tensorboard").glob("events*"))


def test_15_and_15_resumed_steps_equal_30(config, whole, tmp_path, monkeypatch):
    # A signal during step 14: step 15 is the last one.
    def asked(self):
        self.name = "SIGTERM" if runs[-1].done >= 14 else ""
        return bool(self.name)

    monkeypatch.setattr(loop.Interruption, "asked", property(asked))
    runs = []
    remember = loop.Run.__init__
    monkeypatch.setattr(
        loop.Run, "__init__", lambda self, *a: (runs.append(self), remember(self, *a))[1]
    )
    with pytest.raises(SystemExit) as stopped:
        loop.train(config, tmp_path)
    assert stopped.value.code == 0 and max(metrics(tmp_path, "loss")) == 15
    monkeypatch.undo()
    # What is continued draws no parameters that it would not use.
    monkeypatch.delattr(initialization, "init_params")
    loop.train(config, tmp_path)
    for name in ("loss", "learning_rate"):
        assert metrics(tmp_path, name) == metrics(whole, name)
    for a, b in zip(leaves(tmp_path), leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_runs_do_not_share_a_folder(config, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PATIENCE", 0.3)
    with (
        files.claimed(tmp_path),
        pytest.raises(UserError, match=r"another process is training in .* --workdir"),
    ):
        loop.train(config, tmp_path)
    assert not (tmp_path / "config.json").exists()
    loop.train(config, tmp_path)


def test_a_finished_run_trains_no_further(config, whole):
    before = (whole / "metrics.jsonl").read_text()
    loop.train(config, whole)
    assert (whole / "metrics.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("batch_size", 16, "was started with batch_size=8, which cannot become batch_size=16"),
        ("seed", 1, "seed=0, which cannot become seed=1"),
        ("lr_size", 10, "lr_size=8, which cannot become lr_size=10"),
        ("scale_range", (1, 3), r"scale_range=\[1.0, 4.0\], which cannot become .*=\[1, 3\]"),
        ("val_scales", (2,), r"val_scales=\[2, 3\], which cannot become val_scales=\[2\]"),
        ("init_from", "edsr", "init_from='', which cannot become init_from='edsr'"),
        ("val_images", 2, "the training images are not those .*8 tiles, before 10[)]"),
    ],
)
def test_what_samples_depend_on_does_not_change(config, whole, name, value, words):
    before = (whole / "config.json").read_bytes()
    config[name] = value
    with pytest.raises(UserError, match=f"{words}.*--config.init_from=.*model.safetensors"):
        loop.train(config, whole)
    assert (whole / "config.json").read_bytes() == before


@pytest.mark.parametrize("which", ["0.png", "5.png"])
def test_other_images_do_not_continue_a_run(config, folder, whole, tmp_path, which):
    """One training image, or the held-out one, has become another of the same size."""
    shutil.copytree(folder, tmp_path / "images")
    Image.new("RGB", (56, 48)).save(tmp_path / "images" / which)
    config.source = f"folder:{tmp_path / 'images'}"
    with pytest.raises(UserError, match="images are not those that the run in"):
        loop.train(config, whole)


def test_moved_images_and_settings_of_where_and_when_continue(
    config, folder, whole, tmp_path, capsys
):
    part, moved = tmp_path / "part", tmp_path / "moved"
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints" / "latest" / "30")
    shutil.copytree(folder, moved)
    config.update(source=f"folder:{moved}", pool="disk", pool_cache=str(tmp_path / "cache"))
    config.update(checkpoint_every=2, val_every=10)
    loop.train(config, part)
    assert "continuing from step 25" in capsys.readouterr().out
    params, _, facts = weights.load(part / "model.safetensors")
    assert "changed" not in facts
    for a, b in zip(jax.tree.leaves(params), leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_schedules_continue_and_are_told(config, whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    config.update(steps=35, learning_rate=4e-3)
    loop.train(config, tmp_path / "run")
    note = "from step 30 on learning_rate is 0.004, not 0.005, steps is 35, not 30"
    assert note in capsys.readouterr().out
    assert max(metrics(tmp_path / "run", "loss")) == 35
    # What is known of the run says so for good, and once.
    loop.train(config, tmp_path / "run")
    assert note not in capsys.readouterr().out
    run = loop.Run(config, tmp_path / "run", loop.Interruption())
    assert run.progress["changed"] == [note] and run._facts()["changed"] == [note]
    run.checkpoints.close()


def test_another_model_does_not_resume(config, whole):
    config.model.encoder.channels = 8
    with pytest.raises(UserError, match="another model"):
        loop.train(config, whole)


def test_init_from_takes_the_encoder(config, whole, tmp_path):
    config.update(init_from=str(whole / "model.safetensors"), steps=1, val_images=0)
    config.model.head = ConfigDict(
        {"name": "direct", "grid": 2, "trunk_channels": 4, "trunk_blocks": 1}
    )
    run = loop.Run(config, tmp_path, loop.Interruption())
    given, _, _ = weights.load(whole / "model.safetensors")
    params = run.layout.to_tree(run.state.params)
    run.checkpoints.close()
    for a, b in zip(
        jax.tree.leaves(params["encoder"]), jax.tree.leaves(given["encoder"]), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    config.init_parts = ("head",)
    with pytest.raises(UserError, match=r"no part of the weights .* fits the model \(head\)"):
        loop.Run(config, tmp_path / "b", loop.Interruption())


def test_a_failed_start_refuses_no_other(config, tmp_path):
    config.init_from = "none.safetensors"
    config.model.encoder.channels = 8
    with pytest.raises(UserError, match=r"none\.safetensors"):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    config.init_from = ""
    config.model.encoder.channels = 4
    loop.train(config, tmp_path / "run")


def test_fewer_steps_than_are_done(config, whole):
    config.steps = 20
    with pytest.raises(UserError, match="holds a run of 30 steps, more than steps=20"):
        loop.train(config, whole)


@pytest.mark.parametrize(("diverges", "kept"), [(8, None), (18, 10)])
def test_best_weights_of_a_future_that_is_left_are_forgotten(config, tmp_path, diverges, kept):
    config.update(val_every=5, checkpoint_every=10)
    run = loop.Run(config, tmp_path, loop.Interruption())
    poison(run, diverges)
    with pytest.raises(UserError, match="the loss became nan"):
        run.run()
    _, _, facts = weights.load(tmp_path / "model.safetensors")
    assert facts["step"] == diverges // 5 * 5
    resumed = loop.Run(config, tmp_path, loop.Interruption())
    if kept is None:
        assert resumed.progress["best"] is None
        assert not (tmp_path / "model.safetensors").exists()
    else:
        params, _, facts = weights.load(tmp_path / "model.safetensors")
        assert facts["step"] == resumed.progress["best"]["step"] == kept
        assert resumed.done == kept
        for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(resumed.best), strict=True):
            np.testing.assert_array_equal(a, b)
    resumed.feed.close()


def poison(run, step):
    """Makes the parameters not finite before a step."""
    dispatch, calls = run.dispatcher, []

    def poisoned(state, source, steps, stop):
        calls.append(steps)
        if len(calls) == step:
            with jax.transfer_guard("allow"):
                state = state.replace(params=state.params / 0)
        return dispatch(state, source, steps, stop)

    run.dispatcher = poisoned


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good(config, tmp_path):
    config.update(val_images=0, val_source=config.source)
    run = loop.Run(config, tmp_path, loop.Interruption())
    poison(run, 8)
    with pytest.raises(UserError) as error:
        run.run()
    said = str(error.value)
    assert "the loss became nan" in said and "at step 8; step 5 is kept" in said
    assert all(np.isfinite(leaf).all() for leaf in leaves(tmp_path))
    # What is there goes on: nothing was lost.
    assert loop.Run(config, tmp_path, loop.Interruption()).done == 5


def test_an_infinite_state_is_never_saved(config, tmp_path):
    config.update(val_images=0)
    run = loop.Run(config, tmp_path, loop.Interruption())
    state = loop.states.replicate(run.state, run.devices)
    with pytest.raises(UserError, match="step 0 are not finite and not saved"):
        run.checkpoints.save(state.replace(ema=state.ema / 0), None, run.progress)
    assert run.checkpoints.latest_step is None
    run.checkpoints.save(state, None, run.progress)
    assert run.checkpoints.latest_step == 0
    run.checkpoints.close()


def command(folder, workdir, *arguments):
    names = f"--config.source=folder:{folder}", f"--workdir={workdir}"
    return ["train.py", "--config=configs/quickstart.py", *names, *arguments]


def start(line):
    """A training run as a process, on one device, compiled as quickly as the tests are."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *line], cwd=ROOT, env=environment, text=True, **pipes)


@pytest.mark.processes
def test_sigterm_saves_and_exits_0(folder, tmp_path):
    small = {"tile_size": 48, "lr_size": 8, "query_size": 8, "val_images": 0, "log_every": 1}
    small |= {"model.encoder.blocks": 1, "model.encoder.channels": 8, "batch_size": 2}
    options = [f"--config.{name}={value}" for name, value in small.items()]
    process = start(command(folder, tmp_path, *options))
    file = tmp_path / "metrics.jsonl"
    while process.poll() is None:
        if file.exists() and file.read_text().count("\n") > 2:
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.1)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "stopped by SIGTERM at step" in out and "run the same command again" in out
    assert "Traceback" not in err
    steps = [int(path.name) for path in (tmp_path / "checkpoints" / "latest").glob("[0-9]*")]
    assert steps and f"at step {max(steps)};" in out


@pytest.fixture
def train_script(monkeypatch):
    """Runs the command line of training in this process."""
    monkeypatch.chdir(ROOT)
    script = importlib.import_module("gaussiansr_jax.commands.train")

    def run(line):
        monkeypatch.setattr(sys, "argv", line)  # where the flags of a config look
        script.parse(line)
        loop.train(script.CONFIG.value, script.WORKDIR.value)

    with flagsaver.flagsaver():
        yield run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.stepz=3"], "stepz"),
        (["--config.steps=many"], "steps"),
        (["--config.batch_size=0"], "batch_size is 0"),
        (["--config.batch_size=12"], "cannot be shared equally by 8 devices"),
        (["--config.model.head.name=nerf"], "unknown head 'nerf'"),
        (["--config.scale_range=(1,30)"], "larger than tile_size"),
    ],
)
def test_bad_settings_are_one_sentence(train_script, folder, tmp_path, arguments, words):
    with pytest.raises(UserError) as error:
        train_script(command(folder, tmp_path, *arguments))
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.processes
def test_a_bad_setting_ends_the_process_with_one_line(folder, tmp_path):
    process = start(command(folder, tmp_path, "--config.model.head.name=nerf"))
    out, err = process.communicate(timeout=300)
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert process.returncode == 1 and len(lines) == 1 and "'nerf'" in lines[0], err
    assert "Traceback" not in err and not out and not list(tmp_path.iterdir())
