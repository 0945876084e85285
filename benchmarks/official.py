"""Times the official PyTorch code, from a checkout of it outside this project.

    python benchmarks/official.py PART VARIANT --path CHECKOUT --json FILE [--tiny]

`speed.py --official CHECKOUT` runs this; the code is https://github.com/tljxyys/GaussianSR.
Its own functions run, with random weights. "shipped" is as importing them sets PyTorch up, cuDNN
off, with chunks of 30,000 queries. "best" is with cuDNN on (but for `grid_sample`, where cuDNN
refuses large images) and all queries in one chunk. Each call is a separate process, since neither
peaks of memory nor settings can be taken back.
"""

import argparse
import importlib
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import Any, NamedTuple

SPEC = {
    "name": "gaussian-splatter",
    "args": {
        "encoder_spec": {"name": "edsr-baseline", "args": {"no_upsampling": True}},
        "dec_spec": {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [256] * 4}},
        "kernel_size": 5,
    },
}
HALF = {"sub": [0.5], "div": [0.5]}
TRAINING_SCALE, SCALE = 2.5, 4


class Sizes(NamedTuple):
    """What is measured; the training scale is the middle of [1, 4], where ours draws it."""

    batch: int = 16
    patch: int = 48
    steps: int = 4
    photo: tuple[int, int] = (339, 510)
    cpu_photo: tuple[int, int] = (128, 128)
    chunk: int = 30_000


TINY = Sizes(batch=2, patch=16, steps=1, photo=(20, 24), cpu_photo=(16, 16), chunk=4_000)


def load(path: str, variant: str) -> tuple[Any, Any, Any]:
    """The checkout's modules `models`, `test` and `train_gaussian`.

    The packages that they import and this measurement does not need have stand-ins where they are
    missing: the image files' reader always, as nothing is read.
    """
    import torch

    unneeded = {
        "tensorboardX": {"SummaryWriter": None},
        "tqdm": {"tqdm": lambda items, **_: items},
        "yaml": {},
    }
    for name, contents in unneeded.items():
        if importlib.util.find_spec(name) is None:
            stand_in(name, contents)
    stand_in("datasets", {})
    sys.path.insert(0, path)
    if not torch.cuda.is_available():
        # The code moves everything to CUDA.
        torch.Tensor.cuda = lambda tensor: tensor
    modules = [importlib.import_module(name) for name in ("models", "test", "train_gaussian")]
    if variant == "best":
        torch.backends.cudnn.enabled = True
        without_cudnn = torch.backends.cudnn.flags(enabled=False)
        functional = torch.nn.functional
        functional.grid_sample = without_cudnn(functional.grid_sample)
    return tuple(modules)


def stand_in(name: str, contents: dict[str, Any]) -> None:
    """Puts an almost empty module in the place of one that would be imported."""
    module = importlib.util.module_from_spec(ModuleSpec(name, None))
    vars(module).update(contents)
    sys.modules[name] = module


def synchronize() -> None:
    """Waits for the device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def training(models: Any, train: Any, sizes: Sizes, device: str) -> list[dict]:
    """Its training loop on one batch that lies on the device already: no data loading."""
    import torch

    side = round(sizes.patch * TRAINING_SCALE)
    shape = (sizes.batch, sizes.patch**2)
    batch = {
        "inp": torch.rand(sizes.batch, 3, sizes.patch, sizes.patch),
        "coord": (torch.randint(side, (*shape, 2)) * 2 + 1) / side - 1,
        "cell": torch.full((*shape, 2), 2 / side),
        "scale": torch.full((sizes.batch,), TRAINING_SCALE),
        "gt": torch.rand(*shape, 3),
    }
    batch = {name: value.to(device) for name, value in batch.items()}
    model = models.make(SPEC).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    train.config = {"data_norm": {"inp": HALF, "gt": HALF}}

    def steps() -> None:
        train.train([batch] * sizes.steps, model, optimizer)
        synchronize()

    return [row("training", median_time(steps, 3) / sizes.steps)]


def upscaling(
    models: Any, test: Any, photo: tuple[int, int], chunk: int | None, device: str, repeats: int
) -> list[dict]:
    """Its prediction of one image: on the device alone, and from uint8 to uint8 on the host."""
    import torch

    model = models.make(SPEC).to(device).eval()
    scale = torch.tensor([float(SCALE)]).to(device)

    def upscale(image: Any, chunk: int | None) -> tuple[float, float]:
        coord, cell = test.make_coord_and_cell(image.permute(2, 0, 1), SCALE)
        synchronize()
        start = time.perf_counter()
        lr = (image.to(device).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5
        synchronize()
        resident = time.perf_counter()
        rgb = test.batched_predict(model, lr, coord, scale, cell, chunk or coord.shape[1])
        synchronize()
        predicted = time.perf_counter()
        (rgb * 0.5 + 0.5).clamp_(0, 1).mul_(255).round_().byte().cpu()
        return predicted - resident, time.perf_counter() - start

    def pixels(height: int, width: int) -> Any:
        return torch.randint(256, (height, width, 3)).byte()

    # In one chunk, so that the slow variant is warm soon.
    upscale(pixels(*(side // 2 for side in photo)), None)
    times = [upscale(pixels(*photo), chunk) for _ in range(repeats)]
    device_time, host_time = (statistics.median(column) for column in zip(*times, strict=True))
    return [row("device", device_time), row("host", host_time)]


def median_time(work: Callable[[], None], repeats: int) -> float:
    """Median of the seconds of some calls after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def row(key: str, seconds: float) -> dict:
    """A measurement, with the peak of the device's memory so far."""
    import torch

    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {"official": key, "seconds": seconds, "memory": memory}


def measure(part: str, variant: str, path: str, sizes: Sizes) -> list[dict]:
    """The rows of one part: "training", "upscale" or "cpu"."""
    import torch

    torch.manual_seed(0)
    models, test, train = load(path, variant)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if part == "training":
        return training(models, train, sizes, device)
    chunk = sizes.chunk if variant == "shipped" else None
    if part == "upscale":
        repeats = 2 if variant == "shipped" else 5
        return upscaling(models, test, sizes.photo, chunk, device, repeats)
    repeats = 1 if variant == "shipped" else 2
    rows = upscaling(models, test, sizes.cpu_photo, chunk, device, repeats)
    return [{**item, "official": "cpu"} for item in rows if item["official"] == "host"]


def main() -> None:
    """Writes the rows of one part in one variant."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=["training", "upscale", "cpu"])
    parser.add_argument("variant", choices=["shipped", "best"])
    parser.add_argument("--path", required=True, help="a checkout of the official code")
    parser.add_argument("--json", required=True, help="where the figures go")
    parser.add_argument("--tiny", action="store_true", help="small sizes")
    args = parser.parse_args()
    rows = measure(args.part, args.variant, args.path, TINY if args.tiny else Sizes())

    import torch

    rows = [{**item, "variant": args.variant} for item in rows]
    with open(args.json, "w") as file:
        json.dump({"torch": torch.__version__, "rows": rows}, file)


if __name__ == "__main__":
    main()
