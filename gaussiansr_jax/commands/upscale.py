"""`python -m gaussiansr_jax upscale`: image files in, larger image files out."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from gaussiansr_jax import images, loading
from gaussiansr_jax.commands import arguments, video
from gaussiansr_jax.commands.startup import start_jax
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import refuse_existing
from gaussiansr_jax.upscaling.upscaler import Upscaler
from gaussiansr_jax.weights import DEFAULT_WEIGHTS

HELP = "Enlarge images, folders of images or films by any factor."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "inputs", nargs="+", metavar="IN", help="image files, folders of them, or films"
    )
    parser.add_argument(
        "--output", required=True, help="a folder, or for a single image a file name"
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--scale", help="factor from 1 to 30, or two: HORIZONTALxVERTICAL")
    target.add_argument("--size", metavar="WIDTHxHEIGHT", help="size of the output in pixels")
    parser.add_argument(
        "--weights",
        default=DEFAULT_WEIGHTS,
        help="a shipped name, a .safetensors file, a training folder or a PyTorch .pth "
        "(default: %(default)s)",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="computation type")
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average over the eight reflections of each image: a little better, 8 times the work",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing output files")
    video.add_arguments(parser)


def main(args: argparse.Namespace) -> None:
    """Upscales films, or each image; one that cannot be is reported, and the rest goes on.

    Raises:
      UserError: wrong arguments, or at the end, if an image failed.
    """
    if any(video.is_film(path) for path in args.inputs):
        return video.main(args)
    target = arguments.parse(args.scale, args.size)
    files = images.find(args.inputs)
    output, is_file = _output(args, files)
    start_jax()
    upscaler = loading.load(args.weights, dtype=args.dtype, self_ensemble=args.self_ensemble)
    written: set[Path] = set()
    failed = 0
    for file in tqdm(files, unit="image", disable=len(files) == 1):
        try:
            path = output if is_file else output / file.name
            path = upscale_file(upscaler, file, path, target, args.overwrite, is_file, written)
            written.add(path)
        except UserError as error:
            if len(files) == 1:
                raise
            failed += 1
            tqdm.write(f"error: {error}", file=sys.stderr)
    if written:
        print(*written if len(written) == 1 else (f"{len(written)} images in {output}",))
    if failed:
        raise UserError(f"{failed} of {len(files)} images could not be upscaled; see above")


def upscale_file(
    upscaler: Upscaler,
    file: Path,
    path: Path,
    target: dict,
    overwrite: bool,
    exact_name: bool,
    written: set[Path],
) -> Path:
    """Upscales one image file.

    Args:
      upscaler: the model.
      file: the image.
      path: where the result goes.
      target: `scale` or `size` of `Upscaler.upscale`.
      overwrite: whether an existing file may be replaced.
      exact_name: whether `path` must be kept; else its ending becomes `.png` where the format of
        the input cannot hold the result.
      written: files that other images have been written to.

    Returns:
      The path that was written.

    Raises:
      UserError: the image cannot be read, upscaled or written.
    """
    picture = images.read(file)
    for note in picture.notes:
        tqdm.write(f"note: {file}: {note}", file=sys.stderr)
    if not exact_name:
        path = images.suitable_name(path, picture)
    images.check_writable(path, picture.alpha is not None)
    if path in written:
        raise UserError(f"{path} has just been written from another image; rename {file}")
    refuse_existing(path, overwrite)
    rgb = upscaler.upscale(images.bleed_colors(picture).rgb, **target)
    alpha = None if picture.alpha is None else images.resize_alpha(picture.alpha, rgb.shape[:2])
    images.write(path, replace(picture, rgb=rgb, alpha=alpha), overwrite)
    return path


def _output(args: argparse.Namespace, files: list[Path]) -> tuple[Path, bool]:
    """Where results go, and whether that is a file; a folder is made."""
    output = Path(args.output)
    names_a_file = output.suffix.lower() in images.READABLE and not output.is_dir()
    if names_a_file and (len(files) > 1 or Path(args.inputs[0]).is_dir()):
        raise UserError(f"--output {output} is a file, but the input may be several; name a folder")
    if names_a_file:
        images.check_writable(output)
        refuse_existing(output, args.overwrite)
        return output, True
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot make the folder {output}: {error.strerror}; choose another place"
        ) from error
    return output, False
