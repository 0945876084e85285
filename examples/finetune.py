"""Fine-tunes shipped weights on your own photographs, and measures what it brought.

    python examples/finetune.py photos/ runs/mine --steps 2000

The photographs that are held out for the measurement are not trained on.
"""

import argparse

import gaussiansr_jax as gsr
from gaussiansr_jax import loading
from gaussiansr_jax.training.config import default_config
from gaussiansr_jax.training.loop import train


def main() -> None:
    """Trains, and prints the held-out PSNR."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos")
    parser.add_argument("workdir")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--weights", default=gsr.DEFAULT_WEIGHTS)
    args = parser.parse_args()

    _, model, _ = loading.resolve(args.weights)
    config = default_config()
    with config.unlocked():
        config.model = model
    config.init_from = args.weights
    config.source = f"folder:{args.photos}"
    config.val_images = 1
    config.steps = args.steps
    config.query_patch = 1 if model["head"]["name"] == "direct" else 12
    # Trained weights need small steps, and a warm-up for Adam's averages.
    config.learning_rate, config.final_learning_rate = 5e-5, 1e-6
    config.schedule, config.warmup_steps, config.clip_norm = "cosine", args.steps // 10, 1.0
    config.batch_size = 8
    config.val_every = config.checkpoint_every = config.log_every = max(args.steps // 4, 1)
    facts = train(config, args.workdir)
    print(f"held-out PSNR-Y: {facts['val_psnr_y']['mean']:.2f} dB; {args.workdir} is a model now")


if __name__ == "__main__":
    main()
