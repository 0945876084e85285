"""Measures a model on folders of images: `python -m gaussiansr_jax eval`, from the repository.

python eval.py --weights gaussiansr-edsr-baseline --data Set5 B100 --scales 2 3 4 --json scores.json
"""

import sys

from gaussiansr_jax.__main__ import main
from gaussiansr_jax.errors import run_cli

if __name__ == "__main__":
    run_cli(lambda: main(["eval", *sys.argv[1:]]))
