"""Compares our results with reference tensors that the official code computed."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gaussiansr_jax import models
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.models.heads import HeadInput
from gaussiansr_jax.porting.port import load

SELECTIONS = {"expect": "expectation", "argmax": "argmax", "noise": "noise"}


class Difference(NamedTuple):
    """Largest errors of one quantity; `relative` to the largest magnitude of the reference."""

    absolute: float
    relative: float


def difference(ours: np.ndarray, reference: np.ndarray) -> Difference:
    """The largest difference of two arrays.

    Raises:
      UserError: their shapes differ.
    """
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    if ours.shape != reference.shape:
        raise UserError(f"the reference has the shape {reference.shape}, ours is {ours.shape}")
    absolute = float(np.max(np.abs(ours - reference)))
    return Difference(absolute, absolute / float(np.max(np.abs(reference))))


def run_case(
    params: Mapping, config: Mapping, case: Mapping[str, np.ndarray], selection: str
) -> dict[str, np.ndarray]:
    """Computes the quantities of a case, in PyTorch's layout and in full float32 precision.

    Args:
      params: nested dict of arrays.
      config: of the model.
      case: `lr` [B, 3, H, W] in [-1, 1], `coord` [B, Q, 2] (y, x) in [-1, 1], `cell` [B, Q, 2];
        for GaussianSR also `scale`, and `gumbel` [B, H, W, K] for the selection "noise".
      selection: "expect", "argmax" or "noise".

    Returns:
      `features` [B, C, H, W], `out` [B, Q, 3] in [-1, 1], for GaussianSR `hr_features`.
    """
    official = config["head"]["name"] == "gaussiansr"
    if official and selection != "noise":
        config = {**config, "head": {**config["head"], "evaluation": SELECTIONS[selection]}}
    model = models.build(config)
    lr = jnp.asarray(case["lr"].transpose(0, 2, 3, 1))
    with jax.default_matmul_precision("highest"):
        if official:
            noise = case["gumbel"] if selection == "noise" else None
            run = jax.jit(lambda p, lr: model.apply(p, lr, noise, case, method=_gaussiansr))
            features, hr_features, out = run({"params": params}, lr)
            return {
                "features": _nchw(features),
                "hr_features": _nchw(hr_features),
                "out": np.asarray(out),
            }
        run = jax.jit(lambda p, lr: model.apply(p, lr, case, method=_liif))
        features, out = run({"params": params}, lr)
    return {"features": _nchw(features), "out": np.asarray(out)}


def _nchw(features: jax.Array) -> np.ndarray:
    """[B, H, W, C] in PyTorch's layout, [B, C, H, W]."""
    return np.asarray(features).transpose(0, 3, 1, 2)


def _gaussiansr(model, lr, noise, case):
    features, field = _prepare(model, lr, {} if noise is None else {"noise": jnp.asarray(noise)})
    hr_features = model.head.hr_features(field, float(case["scale"]))
    out = model.head.query_features(hr_features, case["coord"], case["cell"], lr.shape[1:3])
    return features, hr_features, out


def _liif(model, lr, case):
    features, field = _prepare(model, lr, {})
    size = np.asarray(lr.shape[1:3], np.float32)
    positions = ((case["coord"] + 1) * size - 1) / 2
    cell = case["cell"][:, 0] * size / 2
    return features, model.head.query(field, jnp.asarray(positions), jnp.asarray(cell))


def _prepare(model, lr, options):
    features = model.encoder(lr, None)
    size = jnp.broadcast_to(jnp.asarray(lr.shape[1:3], jnp.int32), (lr.shape[0], 2))
    return features, model.head.make_field(HeadInput(features, lr, size, **options))


def verify(
    folder: str | Path, checkpoint: str | Path | None = None
) -> dict[str, dict[str, Difference]]:
    """Runs every case of a folder of fixtures.

    Args:
      folder: holds .npz files, perhaps a `manifest.json` that tells each one's selection, and the
        checkpoint if it is the only .pth file there.
      checkpoint: the .pth file of the official code.

    Returns:
      For each file the difference of each quantity that it holds.

    Raises:
      UserError: something is missing or cannot be read.
    """
    folder = Path(folder)
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise UserError(f"{folder}: no .npz files with reference tensors there")
    params, config, _ = load(checkpoint or _only_checkpoint(folder))
    selections = _selections(folder)
    results = {}
    for file in files:
        case = _read_case(file)
        selection = selections.get(file.name, "noise" if "gumbel" in case else "expect")
        if selection not in SELECTIONS:
            raise UserError(f"{file}: unknown selection {selection!r} in manifest.json")
        try:
            ours = run_case(params, config, case, selection)
            results[file.name] = {k: difference(v, case[k]) for k, v in ours.items() if k in case}
        except KeyError as error:
            raise UserError(f"{file}: the array {error} is missing") from error
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
    return results


def _only_checkpoint(folder: Path) -> Path:
    found = sorted(folder.glob("*.pth"))
    if len(found) != 1:
        raise UserError(f"{folder}: {len(found)} .pth files there; name one with --weights")
    return found[0]


def _selections(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.exists():
        return {}
    try:
        return {entry["file"]: entry["selection"] for entry in json.loads(path.read_text())}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a list of entries with 'file' and 'selection'") from error


def _read_case(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as data:
            return dict(data)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: cannot be read as an .npz file ({error})") from error
