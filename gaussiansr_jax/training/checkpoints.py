"""Checkpoints of a training run: the latest ones to go on from, and the best one to use.

Two managers, because a single one with `best_fn` would delete the newest checkpoint to keep a
better one. The managers write in the background; `close` waits for them.
"""

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import atomic_write
from gaussiansr_jax.training.state import Layout, TrainState, local

CONFIG, FOLDER = "config.json", "checkpoints"


class Checkpoints:
    """The checkpoints in `workdir/checkpoints/{latest,best}`."""

    def __init__(self, workdir: Path, layout: Layout):
        self._layout = layout
        self._folder = workdir / FOLDER
        try:
            self._latest = _manager(self._folder / "latest", keep=2)
            self._best = _manager(self._folder / "best", keep=1)
        except OSError as error:
            raise UserError(
                f"cannot write to {workdir} ({error.strerror or error}); name another --workdir"
            ) from error

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._latest.latest_step()

    def save(self, state: TrainState, progress: dict[str, Any]) -> bool:
        """Saves a state to go on from, unless it holds a number that is not finite.

        Args:
          state: the replicated state.
          progress: whatever JSON holds that a resumed run needs.

        Returns:
          whether the state was fit to be saved.
        """
        host = _host(state)
        if not _finite(host):
            return False
        step = int(host.step)
        if step != self.latest_step:
            tree = {
                "step": host.step,
                "params": self._layout.to_tree(host.params),
                "ema": self._layout.to_tree(host.ema),
                # Leaves alone: optax's named tuples are nobody's format.
                "opt_state": dict(_numbered(jax.tree.leaves(host.opt_state))),
            }
            args = {"state": ocp.args.StandardSave(tree), "progress": ocp.args.JsonSave(progress)}
            self._latest.save(step, args=ocp.args.Composite(**args))
        return True

    def save_best(self, ema: Any, step: int, facts: dict[str, Any]) -> None:
        """Saves parameters by name, in place of the best ones until now."""
        args = {"ema": ocp.args.StandardSave(ema), "facts": ocp.args.JsonSave(facts)}
        self._best.save(step, args=ocp.args.Composite(**args))

    def restore(self, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The latest saved state, on the host, and its progress.

        Args:
          state: a state on the host of the same shapes.

        Raises:
          UserError: the checkpoint is damaged or of another model or optimizer.
        """
        leaves, structure = jax.tree.flatten(state.opt_state)
        template = {
            "step": state.step,
            "params": self._layout.to_tree(state.params),
            "ema": self._layout.to_tree(state.ema),
            "opt_state": dict(_numbered(leaves)),
        }
        args = {"state": ocp.args.StandardRestore(template), "progress": ocp.args.JsonRestore()}
        saved = _read(self._latest, self._folder, ocp.args.Composite(**args))
        tree = saved["state"]
        leaves = [np.array(tree["opt_state"][key]) for key, _ in _numbered(leaves)]
        restored = TrainState(
            step=np.array(tree["step"]),
            params=self._layout.to_vector(tree["params"]),
            ema=self._layout.to_vector(tree["ema"]),
            opt_state=jax.tree.unflatten(structure, leaves),
        )
        return restored, saved["progress"]

    def close(self) -> None:
        """Waits until everything is written."""
        self._latest.close()
        self._best.close()


def load_best(workdir: str | os.PathLike) -> tuple[dict, dict, dict]:
    """The EMA weights of a run's best checkpoint; of its latest if nothing was validated yet.

    Returns:
      params (nested dict of numpy arrays), the model's config, facts.

    Raises:
      UserError: no training run in that folder, or no checkpoint yet.
    """
    workdir = Path(workdir).absolute()
    config = read_config(workdir)
    if config is None:
        raise UserError(f"{workdir} is no folder of a training run: it has no {CONFIG}")
    for name, args in (
        ("best", {"ema": ocp.args.StandardRestore(), "facts": ocp.args.JsonRestore()}),
        ("latest", {"state": ocp.args.StandardRestore(), "progress": ocp.args.JsonRestore()}),
    ):
        folder = workdir / FOLDER / name
        if not folder.is_dir():
            continue
        with _manager(folder, keep=None, write=False) as manager:
            if manager.latest_step() is None:
                continue
            saved = _read(manager, folder, ocp.args.Composite(**args))
        ema = saved["ema"] if name == "best" else saved["state"]["ema"]
        facts = saved["facts"] if name == "best" else saved["progress"].get("facts", {})
        return jax.tree.map(np.array, ema), config["model"], facts
    raise UserError(f"the training run in {workdir} has no checkpoint yet; let it train longer")


def read_config(workdir: Path) -> dict[str, Any] | None:
    """The config that a run was started with, None if there is no run.

    Raises:
      UserError: the file is damaged.
    """
    path = workdir / CONFIG
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); name another --workdir") from error


def write_config(workdir: Path, config: dict[str, Any]) -> None:
    """Stores the config of a run, or checks that a resumed run trains the same model.

    Raises:
      UserError: the folder holds the run of another model, or cannot be written.
    """
    old = read_config(workdir)
    if old is not None and old.get("model") != config["model"]:
        raise UserError(
            f"{workdir} holds the training run of another model, {old.get('model')}; "
            f"name another --workdir for {config['model']}"
        )
    with atomic_write(workdir / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=1) + "\n")


def _manager(folder: Path, keep: int | None, write: bool = True) -> ocp.CheckpointManager:
    # Not Orbax's read_only, which warns of being what was asked for.
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=write, save_root_metadata=write)
    return ocp.CheckpointManager(folder.absolute(), options=options)


def _read(manager: ocp.CheckpointManager, folder: Path, args: ocp.args.Composite) -> Any:
    step = manager.latest_step()
    try:
        return manager.restore(step, args=args)
    # Orbax raises whatever its storage and JSON layers raise.
    except Exception as error:
        first = str(error).strip().splitlines() or [repr(error)]
        raise UserError(
            f"cannot read the checkpoint of step {step} in {folder} ({first[0]}); "
            "remove it, or name another --workdir"
        ) from error


def _host(state: TrainState) -> TrainState:
    # Copies: the device's memory is given to the next step while the managers still write.
    return jax.tree.map(np.array, local(state))


def _finite(state: TrainState) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def _numbered(leaves: list[Any]) -> list[tuple[str, Any]]:
    return [(f"{index:03}", leaf) for index, leaf in enumerate(leaves)]
