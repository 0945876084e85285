"""Questions that the paper leaves open, answered with the shipped weights; see docs/results.md.

    python benchmarks/questions.py kernels   --b100 DIR [--figure FILE]
    python benchmarks/questions.py shapes    --b100 DIR [--figure FILE]
    python benchmarks/questions.py subjects  --b100 DIR [--liif FILE.pth] [--figure FILE]
    python benchmarks/questions.py scales    --b100 DIR --set5 DIR [--liif FILE.pth] [--figure FILE]
    python benchmarks/questions.py times     --set5 DIR [--liif FILE.pth] [--figure FILE]

- kernels: which kernels of its bank does the paper's model choose, and what if it has fewer?
- shapes: what do wider, narrower, stronger or weaker Gaussians do to PSNR, SSIM and FLIP? FLIP is a
  perceptual difference, from 0 to 1, by NVIDIA's package: pip install flip-evaluator
- subjects: how much better than bicubic are the models on nature, on structure and on text?
- scales: where does their lead over bicubic end?
- times: what does a higher PSNR cost? CPU seconds of all cores, which other work on the machine
  changes little, of 128x128 pixels at x4; PSNR-Y of Set5 at x4.

Figures are means over crops of 128x128 (`scales` and `times`: whole images), of a photograph the
one with the strongest gradients. The photographs are of B100, text is drawn. None of this was used
for training.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont

from gaussiansr_jax import images, loading
from gaussiansr_jax.errors import run_cli
from gaussiansr_jax.evaluation import metrics, protocol
from gaussiansr_jax.evaluation.imresize import resize_matlab
from gaussiansr_jax.upscaling.upscaler import Upscaler

PAPER = "gaussiansr-edsr-baseline"
MODELS = {
    "paper's": PAPER,
    "direct": "gaussiansr-direct-edsr-baseline",
    "small": "gaussiansr-direct-small",
}
SIDE = 128
# Images of B100, chosen by eye so that their crops show nothing else.
PHOTOGRAPHS = {
    "nature": (
        *("103070", "108070", "12084", "130026", "160068", "19021", "236037", "253027", "260058"),
        *("295087", "62096", "69040", "86068"),
    ),
    "structure": (  # buildings, boats, cars, aircraft
        *("102061", "119082", "126007", "148089", "21077", "219090", "223061", "24077", "37073"),
        *("385039", "76053", "78004", "86000"),
    ),
}
BANKS = (100, 50, 25, 10, 1)
FACTORS = {
    "sigma": (0.5, 0.71, 1, 1.41, 2),
    "opacity": (0, 0.5, 1, 1.5, 2),
}
TEXT = Path(__file__).resolve().parents[1] / "LICENSE"


def crop(image: np.ndarray) -> np.ndarray:
    """The SIDE x SIDE pixels with the strongest gradients."""
    luma = metrics.luma(image / 255)
    strength = np.abs(np.diff(luma, axis=0))[:, :-1] + np.abs(np.diff(luma, axis=1))[:-1]
    corners = [
        (strength[top : top + SIDE, left : left + SIDE].mean(), top, left)
        for top in range(0, image.shape[0] - SIDE + 1, 8)
        for left in range(0, image.shape[1] - SIDE + 1, 8)
    ]
    _, top, left = max(corners)
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])


def spread(items: Sequence, count: int) -> list:
    """`count` of the items, evenly spread."""
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def pages() -> list[np.ndarray]:
    """Nine drawn pages, three fonts in three sizes, and two scanned ones."""
    import matplotlib

    words, drawn = 2 * TEXT.read_text(), []
    for row, font in enumerate(("DejaVuSans", "DejaVuSerif", "DejaVuSansMono")):
        file = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
        for column, size in enumerate((11, 15, 22)):
            dark = column == 1  # light letters on a dark page
            page = Image.new("RGB", (SIDE, SIDE), (24, 28, 48) if dark else (255, 255, 255))
            start = 150 * (3 * row + column)
            ImageDraw.Draw(page).multiline_text(
                (4, 3),
                words[start : start + 1000],
                fill=(235, 235, 225) if dark else (0, 0, 0),
                font=ImageFont.truetype(file, size),
            )
            drawn.append(np.asarray(page))
    scans = [skimage.data.page(), skimage.data.text()]
    return drawn + [crop(np.repeat(scan[..., None], 3, -1)) for scan in scans]


def subjects(b100: str) -> dict[str, list[np.ndarray]]:
    """Crops of nature, structure and text."""
    files = {file.stem: file for file in images.find([b100])}
    crops = {
        subject: [crop(images.read_rgb(files[name])) for name in names]
        for subject, names in PHOTOGRAPHS.items()
    }
    return crops | {"text": pages()}


def models(liif: str | None) -> dict[str, Upscaler]:
    """The shipped models, and LIIF's if there is a file."""
    names = MODELS | ({"LIIF": liif} if liif else {})
    return {name: loading.load(weights) for name, weights in names.items()}


def upscaled(upscaler: Upscaler, lr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Float in [0, 1] of 8 bits, not rounded."""
    return upscaler.upscale(lr.astype(np.float32) / 255, size=size)


def psnr(upscaler: Upscaler, hrs: list[np.ndarray], scale: float) -> tuple[float, float]:
    """Mean PSNR-Y in dB: the model's and bicubic's."""
    found = [
        protocol.evaluate_image(lambda lr, size: upscaled(upscaler, lr, size), hr, scale)
        for hr in hrs
    ]
    return tuple(float(np.mean([f[k] for f in found])) for k in ("psnr_y", "bicubic_psnr_y"))


def class_weights(upscaler: Upscaler, hrs: list[np.ndarray], scale: float) -> np.ndarray:
    """The weights [pixels, kernels] of the kernels at all LR pixels of some images."""

    @jax.jit
    def classify(params, lr):
        def weights(model, lr):
            return jax.nn.softmax(model.head.logits(model.encoder(2 * lr - 1, None)))

        return upscaler.model.apply({"params": params}, lr, method=weights)

    lrs = (protocol.make_pair(hr, scale)[0] for hr in hrs)
    found = [classify(upscaler.params, jnp.asarray(lr[None], jnp.float32) / 255) for lr in lrs]
    return np.concatenate([np.asarray(each).reshape(-1, each.shape[-1]) for each in found])


def effective(usage: np.ndarray) -> np.ndarray:
    """The exponential of the entropy: how many kernels of equal use are as diverse."""
    return np.exp(-np.sum(usage * np.log(np.maximum(usage, 1e-30)), -1))


def with_bank(upscaler: Upscaler, kept: np.ndarray) -> Upscaler:
    """The paper's model with some of its kernels only: the softmax is over those."""
    head = dict(upscaler.params["head"])
    head["classifier"] = {k: v[..., kept] for k, v in head["classifier"].items()}
    head |= {name: head[name][kept] for name in ("sigma_y", "sigma_x", "rho", "opacity")}
    config = dict(upscaler.config)
    config["head"] = {**config["head"], "kernels": len(kept)}
    return Upscaler({**upscaler.params, "head": head}, config)


def scaled(upscaler: Upscaler, setting: str, factor: float) -> Upscaler:
    """The paper's model with all `sigma` or `opacity` times a factor."""
    head = dict(upscaler.params["head"])
    names = ("sigma_y", "sigma_x") if setting == "sigma" else (setting,)
    head |= {name: head[name] * np.float32(factor) for name in names}
    return Upscaler({**upscaler.params, "head": head}, upscaler.config)


def axes_of(count: int, width: float = 3.2):
    """A figure with axes side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, count, figsize=(width * count, 2.7))
    for each in np.atleast_1d(axes):
        each.spines[["top", "right"]].set_visible(False)
    return figure, np.atleast_1d(axes)


def save(figure, path: str) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def row(*cells: str | float) -> None:
    """A line of a Markdown table; floats with three digits."""
    shown = [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells]
    print(f"| {' | '.join(shown)} |", flush=True)


def kernels(args: argparse.Namespace) -> None:
    """Use of the bank, and PSNR with parts of it."""
    upscaler, found = loading.load(PAPER), subjects(args.b100)
    weights = {name: class_weights(upscaler, hrs, 2) for name, hrs in found.items()}
    usage = {name: each.mean(0) for name, each in weights.items()}
    row("LR at x2", "effective kernels", "of a pixel", "of its first choices", "top 10", "top 50")
    row(*["---"] * 6)
    for name, each in weights.items():
        ordered = np.sort(usage[name])[::-1]
        first = np.bincount(each.argmax(-1), minlength=each.shape[-1]) / len(each)
        shares = float(ordered[:10].sum()), float(ordered[:50].sum())
        own = float(effective(each).mean())
        row(name, float(effective(usage[name])), own, float(effective(first)), *shares)
    for one, other in (("nature", "structure"), ("nature", "text"), ("structure", "text")):
        overlap = np.minimum(usage[one], usage[other]).sum()
        print(f"overlap of {one} and {other}: {overlap:.3f}")
    head = upscaler.params["head"]
    for name in ("sigma_y", "sigma_x", "rho", "opacity"):
        of_pixel = np.concatenate([each @ head[name] for each in weights.values()])
        print(
            f"{name}: bank {head[name].min():.3f} to {head[name].max():.3f}, "
            f"of pixels, 1st to 99th percentile: {np.percentile(of_pixel, (1, 99)).round(3)}"
        )
    mean = np.mean(list(usage.values()), 0)
    order = np.argsort(-mean)
    if args.figure:
        photo, _ = protocol.make_pair(skimage.data.chelsea(), 2)
        ranks = np.argsort(order)[class_weights(upscaler, [skimage.data.chelsea()], 2).argmax(-1)]
        draw_bank(head, usage, mean, photo, ranks.reshape(photo.shape[:2]), args.figure)
    row("most used kernels", *(f"{name} x{scale}" for scale in (2, 4) for name in found))
    row(*["---"] * 7)
    for count in BANKS:
        smaller = with_bank(upscaler, np.sort(order[:count]))
        row(count, *(psnr(smaller, hrs, s)[0] for s in (2, 4) for hrs in found.values()))


def draw_bank(
    head: dict,
    usage: dict[str, np.ndarray],
    mean: np.ndarray,
    photo: np.ndarray,
    ranks: np.ndarray,
    path: str,
) -> None:
    """The use of the kernels, the bank before and after training, and the choice over a photograph.

    `ranks` [h, w] are those of each LR pixel's first choice among the kernels by `mean` use.
    """
    figure, (use, bank, picture, choice) = axes_of(4, 3)
    for name, each in usage.items():
        use.plot(np.arange(1, len(each) + 1), 100 * np.sort(each)[::-1], label=name)
    use.set(xlabel="kernels, most used first", ylabel="use, %", xscale="log", yscale="log")
    use.legend(frameon=False, fontsize=8)
    mesh = np.meshgrid(np.linspace(0.2, 1.2, 10), np.linspace(0.2, 1.2, 10))
    bank.plot(*map(np.ravel, mesh), ".", color="silver", ms=3)
    bank.scatter(head["sigma_x"], head["sigma_y"], 3 + 120 * mean, color="C3")
    bank.set(xlabel="sigma_x, LR pixels", ylabel="sigma_y, LR pixels", aspect="equal")
    bank.set_title("trained (red) from the mesh (grey)", fontsize=8)
    picture.imshow(photo)
    shown = choice.imshow(np.minimum(ranks + 1, 5), cmap="viridis_r", vmin=0.5, vmax=5.5)
    colors = figure.colorbar(shown, ax=choice, shrink=0.6, ticks=range(1, 6))
    colors.ax.set_yticklabels(["1st", "2nd", "3rd", "4th", "others"], fontsize=7)
    choice.set_title("each pixel's first choice", fontsize=8)
    for each in (picture, choice):
        each.set_axis_off()
    save(figure, path)


def shapes(args: argparse.Namespace) -> None:
    """PSNR, SSIM and FLIP with other standard deviations and opacities."""
    import flip_evaluator

    upscaler = loading.load(PAPER)
    hrs = [crop(images.read_rgb(file)) for file in spread(images.find([args.b100]), 20)]
    found: dict[tuple[str, int], list[np.ndarray]] = {}
    row("20 crops of B100", "factor", "scale", "PSNR-Y", "SSIM-Y", "FLIP")
    row(*["---"] * 6)
    for setting, factors in FACTORS.items():
        for factor in factors:
            other = scaled(upscaler, setting, factor)
            for scale in (2, 4):
                scores = []
                for hr in hrs:
                    lr, hr = protocol.make_pair(hr, scale)
                    output = np.rint(255 * upscaled(other, lr, hr.shape[:2])) / 255
                    score = protocol.score(output, hr, scale)
                    pair = hr.astype(np.float32) / 255, output.astype(np.float32)
                    flip = flip_evaluator.evaluate(*pair, "LDR", applyMagma=False)[1]
                    scores.append((score["psnr_y"], score["ssim_y"], flip))
                mean = np.mean(scores, 0)
                found.setdefault((setting, scale), []).append(mean)
                cells = f"{mean[0]:.3f}", f"{mean[1]:.4f}", f"{mean[2]:.4f}"
                row(setting, f"{factor:g}", f"x{scale}", *cells)
    if args.figure:
        figure, axes = axes_of(3)
        for (setting, scale), lines in found.items():
            factors = FACTORS[setting]
            trained = lines[factors.index(1)]
            for each, values in zip(axes, np.transpose(np.array(lines) - trained), strict=True):
                style = "o-" if scale == 2 else "o--"
                color = "C0" if setting == "sigma" else "C1"
                each.plot(factors, values, style, color=color, label=f"{setting} x{scale}", ms=3)
        for each, name in zip(axes, ("PSNR-Y, dB", "SSIM-Y", "FLIP (less is better)"), strict=True):
            each.set(xlabel="factor", title=f"change of {name}")
            each.title.set_fontsize(9)
        axes[0].legend(frameon=False, fontsize=8)
        save(figure, args.figure)


def gains(
    upscalers: dict[str, Upscaler], sets: dict[str, list[np.ndarray]], scales: Sequence[float]
) -> dict[str, dict[str, list[float]]]:
    """Prints PSNR-Y, and returns by set and model the leads over bicubic."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, hrs in sets.items():
        row(name, *(f"x{scale:g}" for scale in scales))
        row(*["---"] * (1 + len(scales)))
        for model, upscaler in upscalers.items():
            scores = [psnr(upscaler, hrs, scale) for scale in scales]
            if name not in found:
                row("bicubic", *(bicubic for _, bicubic in scores))
            found.setdefault(name, {})[model] = [ours - bicubic for ours, bicubic in scores]
            row(model, *(ours for ours, _ in scores))
    return found


def by_subject(args: argparse.Namespace) -> None:
    """PSNR-Y on nature, structure and text."""
    scales = (2, 3, 4)
    found = gains(models(args.liif), subjects(args.b100), scales)
    if args.figure:
        figure, axes = axes_of(len(found), 2.9)
        for each, (name, lines) in zip(axes, found.items(), strict=True):
            width = 0.8 / len(lines)
            for index, (model, values) in enumerate(lines.items()):
                each.bar(np.arange(3) + index * width, values, width, label=model)
            each.set_xticks(np.arange(3) + 0.4 - width / 2, [f"x{scale}" for scale in scales])
            each.set_title(name, fontsize=9)
        axes[0].set_ylabel("lead over bicubic, dB")
        axes[0].legend(frameon=False, fontsize=8)
        save(figure, args.figure)


def by_scale(args: argparse.Namespace) -> None:
    """PSNR-Y at large scales."""
    scales = (12, 16, 20, 30)
    sets = {
        "Set5": [images.read_rgb(file) for file in images.find([args.set5])],
        "8 of B100": [images.read_rgb(file) for file in spread(images.find([args.b100]), 8)],
    }
    found = gains(models(args.liif), sets, scales)
    if args.figure:
        draw_scales(found, scales, args.figure)


def draw_scales(
    found: dict[str, dict[str, list[float]]], scales: Sequence[float], path: str
) -> None:
    """Leads over bicubic by set and model."""
    figure, axes = axes_of(len(found), 3.6)
    for each, (name, lines) in zip(axes, found.items(), strict=True):
        for model, values in lines.items():
            each.plot(scales, values, "o-", ms=3, label=model)
        each.axhline(0, color="gray", linewidth=0.6)
        each.set(xlabel="scale", ylabel="lead over bicubic, dB", title=name)
    axes[0].legend(frameon=False, fontsize=8)
    save(figure, path)


def by_time(args: argparse.Namespace) -> None:
    """PSNR-Y and CPU seconds."""
    hrs, scale = [images.read_rgb(file) for file in images.find([args.set5])], 4
    lr = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    size = (lr.shape[0] * scale, lr.shape[1] * scale)

    def seconds(work: Callable[[], object]) -> float:
        work()  # compiles
        start = time.process_time()
        work()
        return time.process_time() - start

    found = {}
    for name, upscaler in models(args.liif).items():
        ours, bicubic = psnr(upscaler, hrs, scale)
        if not found:
            found["bicubic"] = bicubic, seconds(lambda: resize_matlab(lr, size))
        found[name] = ours, seconds(lambda upscaler=upscaler: upscaled(upscaler, lr, size))
    row("Set5 x4", "PSNR-Y", "CPU seconds")
    row(*["---"] * 3)
    for name, (db, cpu) in found.items():
        row(name, db, cpu)
    if args.figure:
        draw_times(found, args.figure)


def draw_times(found: dict[str, tuple[float, float]], path: str) -> None:
    """PSNR against CPU seconds."""
    figure, (axes,) = axes_of(1, 5)
    for name, (db, cpu) in found.items():
        axes.plot(cpu, db, "o", label=name)
    axes.set(xlabel="CPU seconds of 128x128 to 512x512", ylabel="PSNR-Y of Set5 x4, dB")
    axes.set_xscale("log")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    save(figure, path)


QUESTIONS = {
    "kernels": kernels,
    "shapes": shapes,
    "subjects": by_subject,
    "scales": by_scale,
    "times": by_time,
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("question", choices=list(QUESTIONS))
    parser.add_argument("--b100", help="the folder of B100, for all but `times`")
    parser.add_argument("--set5", help="the folder of Set5, for `scales` and `times`")
    parser.add_argument("--liif", help="the official checkpoint of LIIF, .pth")
    parser.add_argument("--figure", help="a picture of the result (.png, .svg)")
    args = parser.parse_args(argv)
    needed = {"scales": ("b100", "set5"), "times": ("set5",)}.get(args.question, ("b100",))
    for name in needed:
        if not getattr(args, name):
            parser.error(f"the question {args.question} needs --{name}")
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}\n")
    QUESTIONS[args.question](args)


if __name__ == "__main__":
    run_cli(main)
