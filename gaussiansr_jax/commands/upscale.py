"""`python -m gaussiansr_jax upscale`: image files in, larger image files out."""

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from gaussiansr_jax import images, loading
from gaussiansr_jax.commands.helpers import batch, films
from gaussiansr_jax.commands.helpers.grouped import GroupedUpscaler
from gaussiansr_jax.commands.helpers.progress import say
from gaussiansr_jax.commands.helpers.startup import start_jax
from gaussiansr_jax.commands.helpers.target import Target, add_target, target_of
from gaussiansr_jax.distributed import parse_share
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import refuse_existing
from gaussiansr_jax.images import Picture
from gaussiansr_jax.upscaling.arguments import check_memory, requested_size
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
    add_target(parser)
    parser.add_argument(
        "--weights",
        default=DEFAULT_WEIGHTS,
        help="a shipped model, a weights file, a training run, a PyTorch checkpoint or "
        "hf:owner/name on the Hugging Face hub (default: %(default)s)",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="computation type")
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average over the eight reflections of each image: a little better, 8 times the work",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace existing output files")
    existing.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave out images whose output file exists, complete and of the right size",
    )
    parser.add_argument(
        "--share",
        metavar="I/N",
        help="do one of N equal shares of the images, counted from 0, as 0/4; 'auto' asks Slurm, "
        "Open MPI or Kubernetes. Start one process for each, with --skip-existing after a crash",
    )
    files = parser.add_argument_group("files")
    files.add_argument(
        "--recursive", action="store_true", help="folders in folders, too, in the same structure"
    )
    files.add_argument(
        "--format",
        choices=sorted(ending[1:] for ending in images.WRITABLE),
        help="of the output files (default: that of the input, or png)",
    )
    files.add_argument("--quality", type=int, metavar="1-100", help="of JPEG, AVIF and WebP")
    files.add_argument("--suffix", default="", help="put behind names, as in --suffix=-x2")
    files.add_argument(
        "--frames",
        choices=("first", "all"),
        default="first",
        help="of animations and files of several pages (default: %(default)s)",
    )
    films.add_arguments(parser)


@dataclass(frozen=True)
class Job:
    """What is to be done with each image.

    Attributes:
      target: how large results are.
      overwrite: whether existing files may be replaced.
      skip_existing: whether images are left out whose result exists; a result that is cut short or
        of another size is replaced.
      all_frames: whether animations and files of several pages are done whole.
      quality: of lossy formats, or None.
    """

    target: Target
    overwrite: bool = False
    skip_existing: bool = False
    all_frames: bool = False
    quality: int | None = None


def main(args: argparse.Namespace) -> None:
    """Upscales films or images. An image that fails is reported, and the others are still done.

    Raises:
      UserError: wrong arguments, or at the end, if an image failed.
    """
    if any(films.is_film(path) for path in args.inputs):
        _refuse_for_films(args)
        return films.main(args)
    job = _job(args)
    output = Path(args.output)
    found = images.search(args.inputs, args.recursive, output if output.is_dir() else None)
    sources = [file for file, _ in found.images]
    names = images.Names(args.format and f".{args.format}", args.suffix)
    is_file = _is_file(args, len(sources))
    paths = [output] if is_file else names.plan([place for _, place in found.images])
    # Divided only now, so that no two processes choose the same name.
    share = parse_share(args.share, os.environ)
    sources, paths = share.of(sources), share.of(paths)
    start_jax()
    upscaler = loading.load(args.weights, dtype=args.dtype, self_ensemble=args.self_ensemble)
    say_model(args.weights)

    waiting = _waiting(sources, [output / path for path in paths], job)
    grouped = GroupedUpscaler(upscaler, {} if args.self_ensemble or job.all_frames else waiting)

    def work(index: int) -> Path:
        source, path = sources[index], paths[index]
        if is_file:
            return upscale_file(upscaler.upscale, source, path, job)

        def rename(picture: Picture) -> Path:
            """The planned name, or another one where its format cannot hold the picture."""
            suitable = path if args.format else images.suitable_name(path, picture)
            return output / (suitable if suitable == path else names.free(suitable, source.suffix))

        enlarge = partial(grouped.upscale, index)
        return upscale_file(enlarge, source, output / path, job, rename)

    batch.report(batch.run(sources, grouped.order(len(sources)), work), output, found.skipped)


def say_model(name: str) -> None:
    """Says which of the shipped models is used, and what the others would give."""
    models = {model.name: model.about for model in loading.shipped()}
    if name in models:
        say(f"model: {name}: {models.pop(name)}")
        for other, about in models.items():
            say(f"  --weights {other}: {about}")


def upscale_file(
    enlarge: Callable[..., np.ndarray],
    file: Path,
    path: Path,
    job: Job,
    rename: Callable[[Picture], Path] | None = None,
) -> Path:
    """Upscales one image file.

    Args:
      enlarge: `Upscaler.upscale`, or what does the same.
      file: the image.
      path: where the result goes.
      job: what is to be done.
      rename: another path for an image that the format of `path` cannot hold; by default there is
        none.

    Returns:
      The path that was written.

    Raises:
      UserError: the image cannot be read, upscaled or written.
      batch.Skipped: the result exists, and such images are skipped.
    """
    # All that the header tells is checked before any work.
    lr_size = images.read_size(file)
    replace_it = _may_replace(file, path, lr_size, job)
    _check_size(lr_size, path, job.target)
    pictures = images.read_frames(file) if job.all_frames else [images.read(file)]
    for note in dict.fromkeys(note for picture in pictures for note in picture.notes):
        say(f"note: {file}: {note}")
    if rename:
        planned, path = path, rename(pictures[0])
        if path != planned:
            replace_it = _may_replace(file, path, lr_size, job)
    for picture in pictures:
        size = _check_size(picture.rgb.shape[:2], path, job.target)
        images.check_writable(path, picture.alpha is not None, size, len(pictures))
        # The result, its rounded copy with alpha, and what the encoder makes of it.
        check_memory((*size, 3), len(pictures) * 2 * picture.rgb.itemsize + 2 + picture.bits // 8)
    if note := job.target.note(pictures[0].rgb.shape[:2]):
        say(f"note: {file}: {note}")
    results = [_enlarged(enlarge, picture, job.target) for picture in pictures]
    if job.skip_existing and path.exists():
        say(f"note: {path}: is incomplete or of another size, and is made again")
    for note in images.write(path, results, replace_it, job.quality):
        say(f"note: {path}: {note}")
    return path


def _enlarged(enlarge: Callable[..., np.ndarray], picture: Picture, target: Target) -> Picture:
    rgb = enlarge(images.bleed_colors(picture).rgb, **target.of(picture.rgb.shape[:2]))
    alpha = None if picture.alpha is None else images.resize_alpha(picture.alpha, rgb.shape[:2])
    return replace(picture, rgb=rgb, alpha=alpha)


def _waiting(sources: list[Path], paths: list[Path], job: Job) -> dict[int, tuple[Path, tuple]]:
    """The files that are to be done and can be read: their index, path and size."""
    found = {}
    for index, (source, path) in enumerate(zip(sources, paths, strict=True)):
        # Errors are reported when it is this file's turn.
        with suppress(UserError, OSError, batch.Skipped):
            size = images.read_size(source)
            _may_replace(source, path, size, job)
            found[index] = source, size
    return found


def _may_replace(file: Path, path: Path, lr_size: tuple[int, int], job: Job) -> bool:
    """Whether a file of that name, if there is one, is replaced.

    Raises:
      UserError: it must not.
      batch.Skipped: it is the result already.
    """
    if path.exists() and file.samefile(path):
        raise UserError(f"{path} is the input itself; name another folder, or give a --suffix")
    if not job.skip_existing:
        refuse_existing(path, job.overwrite)
        return job.overwrite
    if images.is_whole(path, _check_size(lr_size, path, job.target)):
        raise batch.Skipped
    return True


def _check_size(lr_size: tuple[int, int], path: Path, target: Target) -> tuple[int, int]:
    """The size of the result; raises `UserError` if the scale or the format forbid it."""
    arguments_of = target.of(lr_size)
    size = requested_size(lr_size, arguments_of.get("scale"), arguments_of.get("size"))
    images.check_writable(path, size=size)
    return size


def _job(args: argparse.Namespace) -> Job:
    if args.quality is not None and not 1 <= args.quality <= 100:
        raise UserError(f"--quality {args.quality} is out of range: it goes from 1 to 100")
    if "/" in args.suffix or "\\" in args.suffix:
        raise UserError(f"--suffix {args.suffix!r} must not hold slashes")
    return Job(
        target_of(args),
        args.overwrite,
        args.skip_existing,
        args.frames == "all",
        args.quality,
    )


def _refuse_for_films(args: argparse.Namespace) -> None:
    for name in (
        "width",
        "height",
        "fit",
        "skip_existing",
        "recursive",
        "format",
        "quality",
        "share",
    ):
        if getattr(args, name):
            raise UserError(f"--{name.replace('_', '-')} is for pictures; leave it out for films")


def _is_file(args: argparse.Namespace, count: int) -> bool:
    """Whether the output is a file; a folder is created if missing.

    Raises:
      UserError: it cannot be what its name says.
    """
    if not args.output:
        raise UserError("--output is empty; write . for the current folder")
    output = Path(args.output)
    if output.suffix and not output.is_dir() and not args.output.endswith(("/", "\\")):
        if output.suffix.lower() not in images.WRITABLE:
            raise UserError(
                f"--output {output}: no image format that can be written ends in "
                f"{output.suffix!r}; use one of {', '.join(images.WRITABLE)}, or write {output}/ "
                "for a folder"
            )
        if count > 1 or Path(args.inputs[0]).is_dir():
            raise UserError(
                f"--output {output} is a file, but the input may be several; name a folder"
            )
        if args.format and output.suffix.lower() != f".{args.format}":
            raise UserError(f"--output {output} and --format {args.format} contradict each other")
        if not args.skip_existing:
            refuse_existing(output, args.overwrite)
        return True
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create the folder {output}: {error.strerror}; choose another place"
        ) from error
    return False
