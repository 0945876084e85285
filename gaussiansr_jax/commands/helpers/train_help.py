"""What `train --help` prints: the flags, and all settings with their values."""

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from gaussiansr_jax import models
from gaussiansr_jax.training.config import default_config

USAGE = """\
Trains a model, or continues the training that a folder holds.

usage: gaussiansr train --config NAME --workdir DIR [--config.SETTING=VALUE ...]

In a shell, quote values with brackets, as in '--config.val_scales=(2, 3.5)'.
"""
_WIDTH = 100


def train_help(own: Sequence[flags.FlagHolder], config: ConfigDict | None) -> str:
    """The text.

    Args:
      own: the flags of the command.
      config: whose values are shown; by default that of `default_config`.
    """
    options = [
        f"  --{flag.name}{'' if flag.default is None else f' (default: {flag.default})'}\n"
        + _wrapped(flags.FLAGS[flag.name].help, 6)
        for flag in own
    ]
    shown = "defaults, which a config changes" if config is None else "values of this config"
    config = default_config() if config is None else config
    parts = [USAGE, "flags:", *options, "", f"settings ({shown}):", *_settings(config)]
    return "\n".join(parts)


def _settings(config: ConfigDict) -> Iterator[str]:
    """The settings in the order of `default_config`, each below what is said of it there."""
    source, names, told = inspect.getsource(default_config), set(config), []
    for line in source.splitlines():
        if said := re.match(r"\s+# (.*)", line):
            told.append(said[1])
        elif (name := re.match(r' {12}"(\w+)":', line)) and name[1] in names:
            if told:
                yield "\n" + _wrapped(" ".join(told), 2)
            told = []
            value = config[name[1]]
            if name[1] == "model":
                value = models.complete(config.model.to_dict())
            for path, leaf in _flat(name[1], value):
                yield f"    --config.{path}={leaf}"


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield path, value
        return
    for name, part in value.items():
        yield from _flat(f"{path}.{name}", part)


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)
