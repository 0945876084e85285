"""The training loop: everything from a config to trained weights in a folder."""

import errno
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from ml_collections import ConfigDict

from gaussiansr_jax import distributed, models, weights
from gaussiansr_jax.data.pool import Pool
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import FULL
from gaussiansr_jax.memory import is_out_of_memory
from gaussiansr_jax.training import initialization
from gaussiansr_jax.training import state as states
from gaussiansr_jax.training.changes import check_images, check_settings, images_seen
from gaussiansr_jax.training.config import check_config, sample_settings, to_json
from gaussiansr_jax.training.feeding import feed
from gaussiansr_jax.training.images import Data, load_data
from gaussiansr_jax.training.interruption import Interruption
from gaussiansr_jax.training.optimizer import build_optimizer
from gaussiansr_jax.training.reporting import Reporter, Window
from gaussiansr_jax.training.step import Dispatcher, make_step
from gaussiansr_jax.training.validation import Validator
from gaussiansr_jax.training.workdir import WEIGHTS, check_same_model, claimed, write_config

if TYPE_CHECKING:
    from gaussiansr_jax.training.checkpoints import Checkpoints


def train(config: ConfigDict, workdir: str | Path, data: Data | None = None) -> dict[str, Any]:
    """Trains a model, or continues the training that `workdir` holds.

    With several processes, call it in each of them, inside `distributed.joined`.

    Args:
      config: see `config.default_config`.
      workdir: gets config.json, checkpoints/, metrics.jsonl, tensorboard/, samples/*.png, and
        model.safetensors: the EMA weights of the best validation.
      data: what `load_data` returned, where several runs share it.

    Returns:
      the facts of the run: step, seconds, validation PSNR, …

    Raises:
      UserError: anything that the caller can correct; also a loss that is not finite.
      SystemExit: 0, after SIGTERM or Ctrl-C and a checkpoint.
    """
    check_config(config)
    workdir = Path(workdir).expanduser().absolute()
    try:
        with Interruption() as interruption:
            _check_start(config, workdir)
            with claimed(workdir) if distributed.current().first else nullcontext():
                return Run(config, workdir, interruption, data).run()
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "the device's memory is too small for this run; lower batch_size, set pool=host, or "
            "train a smaller model"
        ) from error
    except OSError as error:
        if error.errno not in (*FULL, errno.EIO, errno.EROFS):
            raise
        raise UserError(
            f"cannot write to {error.filename or workdir} ({error.strerror}); make room, and run "
            "the same command again to continue from the last checkpoint"
        ) from error


class Run:
    """One call of `train`."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Path,
        interruption: Interruption,
        data: Data | None = None,
    ):
        self.config, self.workdir, self.interruption = config, workdir, interruption
        self.group = distributed.current()
        self.devices = jax.local_devices()
        model = models.build(config.model.to_dict())
        # Tracing the model takes a while, so that the other processes are told.
        shapes = initialization.param_shapes(model, config.lr_size) if self.group.first else None
        shapes = self.group.of_first("shapes of the parameters", shapes)
        encoder_size = sum(leaf.size for leaf in jax.tree.leaves(shapes["encoder"]))
        optimizer = build_optimizer(config, encoder_size)
        # The place of what is read, drawn or received.
        empty = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        self.state, self.layout = states.create(empty, optimizer)
        self.best: Any = None
        self.progress: dict[str, Any] = {"seconds": 0.0, "best": None, "facts": {}, "changed": []}
        # Process 0 alone reads and writes the run's files.
        self.checkpoints = _checkpoints(workdir, self.layout) if self.group.first else None
        self._take_up(model, optimizer)
        settings = sample_settings(config)
        pool, crops = data or load_data(config, settings.crop_size)
        self._check_images(pool, crops)
        if self.group.first:
            write_config(workdir, to_json(config))
            self._write_best()
        length = steps_per_dispatch(config)
        self.feed, self.length = feed(
            config.pool, pool, settings, self.devices, length, config.steps
        )
        self._say(
            f"{self.feed}, {len(crops)} held-out images, {self.layout.size:,} parameters, "
            f"{self._device()}"
        )
        self.validator = None
        if len(crops):
            self.validator = Validator(model, self.layout, crops, config.val_scales)
        step = make_step(model, self.layout, optimizer, settings, config, jax.device_count())
        self.dispatcher = Dispatcher(step, self.devices)

    def run(self) -> dict[str, Any]:
        """Trains to the end, or until a signal asks to stop."""
        reporter = Reporter(self.workdir, self.done, self.config.steps, self.group.first)
        try:
            state = self._train(reporter)
            if self.done == self.config.steps:
                self._finish(state, reporter)
        finally:
            self.feed.close()
            reporter.close()
            if self.checkpoints:
                self.checkpoints.close()
        if self.done < self.config.steps:
            by = self.interruption.name or "a signal to another process"
            self._say(
                f"stopped by {by} at step {self.done}; saved in "
                f"{self.workdir}; run the same command again to continue"
            )
            raise SystemExit(0)
        return self.progress["facts"]

    def _take_up(self, model: models.SuperResolver, optimizer: Any) -> None:
        """Finds the state to start or to resume from, the same in all processes."""
        if self.checkpoints:
            self._say(self._start(model, optimizer))
        self.progress = self.group.of_first("progress", self.progress)
        self.state = distributed.broadcast(self.state)
        self.done = int(self.state.step)
        if self.done > self.config.steps:
            raise UserError(
                f"{self.workdir} holds a run of {self.done} steps, more than "
                f"steps={self.config.steps}; raise steps, or name another --workdir"
            )
        before = self.progress.get("settings")
        if note := check_settings(self.workdir, self.done, before, self.config):
            self.progress["changed"] = [*self.progress["changed"], note]
            self._say(note)
        self.progress["settings"] = to_json(self.config)

    def _check_images(self, pool: Pool, crops: np.ndarray) -> None:
        """Checks that a resumed run has the images that it began with."""
        images = images_seen(self.group, pool, crops)
        check_images(self.workdir, self.progress.get("images"), images)
        self.progress["images"] = images

    def _start(self, model: models.SuperResolver, optimizer: Any) -> str:
        """Takes up the newest checkpoint, or new parameters; says what they are."""
        if self.checkpoints.latest_step is not None:
            self.state, self.best, self.progress, note = self.checkpoints.restore(self.state)
            return f"{note}continuing from step {self.state.step} of {self.workdir}"
        config, text = self.config, f"starting in {self.workdir}"
        params = initialization.init_params(model, config.seed, config.lr_size)
        if config.init_from:
            name, wanted = config.init_from, config.init_parts
            params, parts = initialization.init_from(params, name, wanted)
            text = f"starting from the {' and '.join(parts)} of {name}"
        self.state, _ = states.create(params, optimizer)
        return text

    def _train(self, reporter: Reporter) -> states.TrainState:
        config = self.config
        state = states.replicate(self.state, self.devices)
        if self.done == 0 and self.validator:
            self._picture(state)
            scores = self.validator.bicubic_scores()
            reporter.say(f"bicubic, held-out PSNR-Y in dB: {_shown(scores)}")
        window, stop = Window(config.batch_size), False
        while self.done < config.steps and not stop:
            chunk = min(self.length, config.steps - self.done)
            windows = self.feed.take(self.done, chunk)
            # A transfer to or from the device in here would cost time in every call.
            with jax.transfer_guard("disallow"):
                state, metrics = self.dispatcher(state, windows, chunk, self.interruption.asked)
            metrics = jax.device_get(states.local(metrics))
            stop = bool(metrics.pop("stop").any())
            self._check(metrics)
            before, self.done = self.done, self.done + chunk
            self.progress["seconds"] += window.add(metrics)
            reporter.progress(chunk, window)
            ends = stop or self.done == config.steps
            if ends or _passed(config.log_every, before, self.done):
                reporter.metrics(self.done, window.take())
            # A run that was asked to stop is not validated: that might take too long.
            if not stop and (ends or _passed(config.val_every, before, self.done)):
                self._validate(state, reporter)
            if ends or _passed(config.checkpoint_every, before, self.done):
                self._save(state)
            self.progress["seconds"] += window.skip()
        return state

    def _check(self, metrics: dict[str, np.ndarray]) -> None:
        """Stops at the first loss or gradient that is not finite; nothing of it is saved."""
        bad = ~np.isfinite(metrics["loss"]) | ~np.isfinite(metrics["grad_norm"])
        if bad.any():
            index = int(bad.argmax())
            kept = self.checkpoints.kept() if self.checkpoints else "see process 0"
            raise UserError(
                f"the loss became {metrics['loss'][index]} (gradient norm "
                f"{metrics['grad_norm'][index]}) at step {self.done + index + 1}; {kept}; "
                "lower learning_rate or set clip_norm, and run again"
            )

    def _validate(self, state: states.TrainState, reporter: Reporter) -> None:
        if self.validator is None:
            return
        ema = states.local(state.ema)
        scores = self.validator(ema)
        reporter.metrics(self.done, {f"val_psnr_{k}": round(v, 4) for k, v in scores.items()})
        reporter.say(f"step {self.done}, held-out PSNR-Y in dB: {_shown(scores)}")
        best = self.progress["best"]
        if best is None or scores["mean"] > best["mean"]:
            self.progress["best"] = {"step": self.done, **scores}
            self._export(ema)

    def _export(self, ema: Any) -> None:
        """Makes `ema` the best weights, and writes them to a file that needs no Orbax."""
        self.progress["facts"] = self._facts()
        if self.group.first:
            self.best = self.layout.to_tree(ema)
            self._write_best()

    def _write_best(self) -> None:
        """Writes the best weights; a run that continues from an earlier step removes later ones."""
        if self.best is None:
            (self.workdir / WEIGHTS).unlink(missing_ok=True)
            return
        model = to_json(self.config)["model"]
        weights.save(self.workdir / WEIGHTS, self.best, model, self.progress["facts"])

    def _facts(self) -> dict[str, Any]:
        config = self.config
        best = self.progress["best"] or {}
        copied = ["source", "steps", "batch_size", "lr_size", "query_size", "seed", "init_from"]
        changed = self.progress.get("changed")  # older checkpoints know of none
        return {name: config[name] for name in copied} | {
            "step": self.done,
            "scale_range": list(config.scale_range),
            "val_psnr_y": {k: round(v, 3) for k, v in best.items() if k != "step"},
            "seconds": round(self.progress["seconds"], 1),
            "device": self._device(),
            "date": date.today().isoformat(),
            **({"changed": changed} if changed else {}),
        }

    def _save(self, state: states.TrainState) -> None:
        if self.checkpoints:
            with self.group.saving():
                self.checkpoints.save(state, self.best, self.progress)

    def _picture(self, state: states.TrainState) -> None:
        if self.validator and self.group.first:
            path = self.workdir / "samples" / f"step_{self.done:07}.png"
            self.validator.write_picture(path, states.local(state.ema))

    def _finish(self, state: states.TrainState, reporter: Reporter) -> None:
        self._picture(state)
        if self.validator is None:
            self._export(states.local(state.ema))
        reporter.say(f"weights: {self.workdir / WEIGHTS}")

    def _device(self) -> str:
        return f"{jax.device_count()} x {self.devices[0].device_kind}"

    def _say(self, text: str) -> None:
        if self.group.first:
            print(text, flush=True)


def _checkpoints(workdir: Path, layout: states.Layout) -> "Checkpoints":
    from gaussiansr_jax.training.checkpoints import Checkpoints  # Orbax takes long to import

    return Checkpoints(workdir, layout)


def _check_start(config: ConfigDict, workdir: Path) -> None:
    """Checks what can be checked before any image is read: settings, processes, folders."""
    group = distributed.current()
    facts = {f"config.{name}": value for name, value in to_json(config).items()}
    facts |= {"devices of the process": jax.local_device_count(), "jax": jax.__version__}
    distributed.agree(group, "start", facts | {"code": distributed.code_digest()})
    if config.batch_size % jax.device_count():
        raise UserError(
            f"batch_size={config.batch_size} cannot be shared equally by "
            f"{jax.device_count()} devices; make it a multiple"
        )
    distributed.check_shared(group, workdir)
    distributed.connect_devices(group)
    check_same_model(workdir, to_json(config)["model"])


def steps_per_dispatch(config: ConfigDict) -> int:
    """Steps of one call: the config's, or 1 on CPUs (convolutions in a scan are slow), else 500."""
    if config.steps_per_dispatch is not None:
        return config.steps_per_dispatch
    return 1 if jax.default_backend() == "cpu" else 500


def _passed(every: int, before: int, now: int) -> bool:
    """Whether a multiple of `every` lies in (before, now]."""
    return now // every > before // every


def _shown(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
