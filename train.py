"""Trains a model: `python -m gaussiansr_jax train`, from the repository.

python train.py --config configs/NAME.py --workdir DIR [--config.key=value ...]
"""

import sys

from gaussiansr_jax.__main__ import main
from gaussiansr_jax.errors import run_cli

if __name__ == "__main__":
    run_cli(lambda: main(["train", *sys.argv[1:]]))
