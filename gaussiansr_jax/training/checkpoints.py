"""Checkpoints of a training run, each with all that a resumed run needs.

Only process 0 reads and writes them: the state is the same in all processes. Saving waits until
everything is written, so a crash loses at most the steps since the last save. A checkpoint also
holds the best weights so far, so a run that continues from it does not keep better ones from steps
that it will do again.
"""

import os
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from gaussiansr_jax import weights
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.training.state import Layout, TrainState, local
from gaussiansr_jax.training.storage import (
    DamagedError,
    check_room,
    digest,
    open_manager,
    read,
    reason,
)
from gaussiansr_jax.training.workdir import CONFIG, FOLDER, WEIGHTS, read_config


class Saved(NamedTuple):
    """What a checkpoint holds.

    Attributes:
      state: of training, on the host.
      best: the parameters of the best validation; None before the first.
      progress: whatever else a resumed run needs, as JSON holds it.
      note: about damaged checkpoints that were passed over; "" if there were none.
    """

    state: TrainState
    best: Any
    progress: dict[str, Any]
    note: str = ""


class Checkpoints:
    """The checkpoints of a run; their folder is created by the first one."""

    def __init__(self, workdir: Path, layout: Layout):
        self._layout, self._workdir = layout, workdir
        self._folder = workdir / FOLDER

    @cached_property
    def _manager(self) -> ocp.CheckpointManager:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return open_manager(self._folder, keep=2)
        except OSError as error:
            raise UserError(
                f"cannot write to {self._workdir} ({error.strerror or error}); "
                "name another --workdir"
            ) from error

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step() if self._folder.is_dir() else None

    def save(self, state: TrainState, best: Any, progress: dict[str, Any]) -> None:
        """Saves a state to continue from; returns when it is written.

        Args:
          state: the replicated state.
          best: parameters by name, or None.
          progress: whatever JSON holds that a resumed run needs.

        Raises:
          UserError: the state holds a number that is not finite, or it cannot be written.
        """
        host = jax.tree.map(np.array, local(state))
        step = int(host.step)
        if step == self.latest_step:
            return
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(host)):
            raise UserError(
                f"the parameters at step {step} are not finite and not saved; {self.kept()}; "
                "lower learning_rate, and run again"
            )
        trees = {"state": self._to_tree(host)} | ({} if best is None else {"best": best})
        items = {name: ocp.args.StandardSave(tree) for name, tree in trees.items()}
        items["progress"] = ocp.args.JsonSave({**progress, "digest": digest(trees)})
        manager = self._manager
        try:
            check_room(self._folder, sum(x.nbytes for x in jax.tree.leaves(trees)))
            manager.save(step, args=ocp.args.Composite(**items))
        except Exception as error:  # whatever Orbax's storage layers raise
            raise UserError(
                f"cannot save step {step} in {self._workdir} ({reason(error)}); {self.kept()}; "
                "make room, and run the same command again to continue from there"
            ) from error

    def restore(self, state: TrainState) -> Saved:
        """The newest undamaged checkpoint; damaged ones are moved out of the way.

        Args:
          state: a state on the host, of the shapes to be read.

        Raises:
          UserError: all are damaged, or the newest undamaged one is of another optimizer.
        """
        damaged = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                trees, progress = read(self._manager, self._folder, step)
            except DamagedError as error:
                damaged.append((step, str(error)))
                continue
            restored = self._from_tree(trees["state"], state)
            best = trees.get("best")
            if best is None and progress["best"] is not None:
                best = self._older_best(progress)
            note = "".join(self._put_aside(*which) for which in damaged)
            return Saved(restored, best, progress, note)
        step, why = damaged[0]
        raise UserError(
            f"no checkpoint in {self._folder} can be read (of step {step}: {why}); "
            "name another --workdir"
        )

    def kept(self) -> str:
        """Which step a run can continue from, in words."""
        last = self.latest_step
        return f"step {last} is kept in {self._workdir}" if last else "there is no checkpoint yet"

    def close(self) -> None:
        """Ends Orbax's threads."""
        if self._folder.is_dir():
            self._manager.close()

    def _older_best(self, progress: dict[str, Any]) -> Any:
        """The best weights of a checkpoint that does not hold them, from the file beside it."""
        try:
            params, _, facts = weights.load(self._workdir / WEIGHTS)
        except UserError:
            params, facts = None, {}
        if facts.get("step") != progress["best"]["step"]:
            params, progress["best"] = None, None
        return params

    def _put_aside(self, step: int, why: str) -> str:
        aside = self._folder.parent / f"damaged-{step}"
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(self._folder / str(step), aside)
        self._manager.reload()
        return f"the checkpoint of step {step} is damaged ({why}) and was moved to {aside}; "

    def _to_tree(self, state: TrainState) -> dict[str, Any]:
        return {
            "step": state.step,
            "params": self._layout.to_tree(state.params),
            "ema": self._layout.to_tree(state.ema),
            # Leaves alone: optax's named tuples are not a stable format.
            "opt_state": dict(_numbered(jax.tree.leaves(state.opt_state))),
        }

    def _from_tree(self, tree: dict[str, Any], like: TrainState) -> TrainState:
        if jax.tree.map(np.shape, tree) != jax.tree.map(np.shape, self._to_tree(like)):
            raise UserError(
                f"the checkpoints in {self._workdir} are of another model or optimizer; "
                "restore the settings they were made with, or name another --workdir"
            )
        leaves, structure = jax.tree.flatten(like.opt_state)
        return TrainState(
            step=tree["step"],
            params=self._layout.to_vector(tree["params"]),
            ema=self._layout.to_vector(tree["ema"]),
            opt_state=jax.tree.unflatten(
                structure, [tree["opt_state"][key] for key, _ in _numbered(leaves)]
            ),
        )


def load_best(workdir: str | os.PathLike) -> tuple[dict, dict, dict]:
    """The EMA weights of a run's best validation; of its newest checkpoint if there was none yet.

    Returns:
      params (nested dict of numpy arrays), the model's config, facts.

    Raises:
      UserError: no training run in that folder, or no checkpoint yet.
    """
    workdir = Path(workdir).absolute()
    config = read_config(workdir)
    if config is None:
        raise UserError(f"{workdir} is not a training run: it has no {CONFIG}")
    if (workdir / WEIGHTS).is_file():
        return weights.load(workdir / WEIGHTS)
    folder = workdir / FOLDER
    if folder.is_dir():
        with open_manager(folder, keep=None, write=False) as manager:
            for step in sorted(manager.all_steps(), reverse=True):
                try:
                    trees, progress = read(manager, folder, step)
                except DamagedError:
                    continue
                return trees["state"]["ema"], config["model"], progress.get("facts", {})
    raise UserError(f"the training run in {workdir} has no checkpoint yet; let it train longer")


def _numbered(leaves: list[Any]) -> list[tuple[str, Any]]:
    return [(f"{index:03}", leaf) for index, leaf in enumerate(leaves)]
