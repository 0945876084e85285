"""Expected scaling of training to many chips, from a measured step and published link speeds.

    python benchmarks/expected_scaling.py [--head NAME] [--step MS] [--measured DEVICES:MS ...]

Weak scaling: each chip computes its own 16 samples, then one all-reduce adds up the gradients, and
nothing hides it. Among the chips of a host it is a ring; between hosts, each chip first reduces its
piece within the host and then exchanges it with its peers over its own link. The gain in a torus of
TPUs from using several axes at a time is that of the chip's total ICI bandwidth. Waiting for the
slowest chip is not in the model.
"""

import argparse
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from gaussiansr_jax import models
from gaussiansr_jax.training.config import default_config


class Links(NamedTuple):
    """How chips are connected.

    Attributes:
      name: of the machine.
      chips: of a host; beyond it the second link counts.
      inner: bytes/s of a chip in one direction within the host (or the slice).
      outer: the same between hosts.
      inner_hop: seconds of latency of one exchange within the host; our assumption.
      outer_hop: the same between hosts; our assumption.
    """

    name: str
    chips: int
    inner: float
    outer: float
    inner_hop: float
    outer_hop: float


MACHINES = (
    # NVIDIA's data sheet of the H100 SXM: NVLink 900 GB/s in both directions together; a ConnectX-7
    # of 400 Gb/s for each GPU of a DGX H100.
    Links("H100, 8 a host, NVLink and 400 Gb/s a GPU", 8, 450e9, 50e9, 2e-6, 6e-6),
    # The same hosts in a cloud with one link of 100 Gb/s for all eight.
    Links("H100, 8 a host, NVLink and 100 Gb/s a host", 8, 450e9, 100e9 / 8 / 8, 2e-6, 25e-6),
    # Google's page of TPU v5p: 1,200 GB/s a chip in both directions together, 3D torus.
    Links("TPU v5p, one slice", 8960, 600e9, 600e9, 1e-6, 1e-6),
)
CHIPS = (1, 2, 8, 64, 512)


def all_reduce(size: float, chips: int, links: Links) -> float:
    """Seconds of one all-reduce of `size` bytes over `chips` chips."""
    inner = min(chips, links.chips)
    outer = math.ceil(chips / links.chips)
    # A ring over n moves 2 (n - 1) / n of the data through each chip; latency: a tree's.
    within = 2 * (inner - 1) / inner * size / links.inner
    between = 2 * (outer - 1) / outer * (size / inner) / links.outer
    hops = 2 * math.ceil(math.log2(inner)), 2 * math.ceil(math.log2(outer))
    return within + between + hops[0] * links.inner_hop + hops[1] * links.outer_hop


def parameters(head: str) -> int:
    """Number of parameters of EDSR-baseline with a head."""
    config = default_config()
    config.model.head = ConfigDict({"name": head})
    model = models.build(config.model.to_dict())
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), image)
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--head", default="gaussiansr")
    parser.add_argument(
        "--step", type=float, default=4.179, help="measured ms of one chip, 16 samples"
    )
    parser.add_argument(
        "--measured",
        nargs="*",
        default=["1:4.179", "2:4.224"],
        metavar="DEVICES:MS",
        help="measured steps, shown beside (default: H100s of docs/performance.md)",
    )
    args = parser.parse_args()
    count = parameters(args.head)
    size = 4 * count
    measured = {int(n): float(ms) for n, ms in (item.split(":") for item in args.measured)}
    print(
        f"{args.head}: {count:,} parameters, {size / 1e6:.1f} MB of gradients a step; "
        f"{args.step:g} ms on one chip"
    )
    for links in MACHINES:
        print(f"\n{links.name}\n")
        print("| chips | batch | all-reduce | step | efficiency | samples/s | measured step |")
        print("|--:|--:|--:|--:|--:|--:|--:|")
        for chips in CHIPS:
            reduce = 1e3 * all_reduce(size, chips, links)
            step = args.step + reduce
            seen = measured.get(chips) if links is MACHINES[0] else None
            print(
                f"| {chips} | {16 * chips:,} | {reduce:.3f} ms | {step:.3f} ms | "
                f"{args.step / step:.1%} | {16e3 * chips / step:,.0f} | "
                f"{f'{seen:.3f} ms' if seen else ''} |"
            )


if __name__ == "__main__":
    main()
