"""How the command `upscale` enlarges films."""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from gaussiansr_jax import loading
from gaussiansr_jax.commands.helpers.startup import start_jax
from gaussiansr_jax.commands.helpers.target import parse
from gaussiansr_jax.errors import UserError, needs_extra

READABLE = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg"),
    *(".wmv", ".flv", ".ogv", ".3gp", ".vob", ".y4m"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments for films."""
    films = parser.add_argument_group("films")
    films.add_argument(
        "--encoder",
        metavar="NAME",
        help="FFmpeg's encoder (default: libx264; libx265 for 10 bits; libsvtav1 in .webm)",
    )
    films.add_argument(
        "--encoder-options",
        metavar="KEY=VALUE,…",
        help="FFmpeg's options of the encoder, like crf=14,preset=slow",
    )


def is_film(path: str) -> bool:
    """Whether a file name ends like a film's."""
    return Path(path).suffix.lower() in READABLE


def main(args: argparse.Namespace) -> None:
    """Enlarges films.

    Raises:
      UserError: wrong arguments, or a film failed.
    """
    pictures = [path for path in args.inputs if not is_film(path)]
    if pictures:
        raise UserError(
            f"{pictures[0]} is not a film; enlarge films and pictures one after another"
        )
    if args.self_ensemble:
        raise UserError("--self-ensemble is for pictures; leave it out for films")
    target = parse(args.scale, args.size)
    options = _encoder_options(args.encoder_options)
    with needs_extra("upscaling a film", "video"):
        from gaussiansr_jax.video.film import upscale_film
    paths = _outputs(args.inputs, Path(args.output))
    start_jax()
    engine = loading.load(args.weights, dtype=args.dtype).engine
    for source, path in zip(args.inputs, paths, strict=True):
        with tqdm(desc=Path(source).name, unit="frame", smoothing=0.05) as bar:

            def progress(done: int, total: int | None, bar: tqdm = bar) -> None:
                bar.total = total if total is None else max(total, done)
                bar.update(done - bar.n)

            upscale_film(
                engine,
                source,
                path,
                **target,
                encoder=args.encoder,
                encoder_options=options,
                overwrite=args.overwrite,
                note=lambda sentence: tqdm.write(f"note: {sentence}", file=sys.stderr),
                progress=progress,
            )
        print(path)


def _encoder_options(text: str | None) -> dict[str, str]:
    """`KEY=VALUE,…` as a dict; x265-params and the like hold colons, no commas."""
    pairs = [pair.partition("=") for pair in text.split(",")] if text else []
    for key, equals, value in pairs:
        if not (key and equals and value):
            raise UserError(
                f"--encoder-options {text!r} is not valid; write it like crf=14,preset=slow"
            )
    return {key: value for key, _, value in pairs}


def _outputs(inputs: list[str], output: Path) -> list[Path]:
    """The files to be written; a name without an ending is a folder."""
    if output.suffix and not output.is_dir():
        if len(inputs) > 1:
            raise UserError(f"--output {output} is a file, but there are several films")
        return [output]
    paths = [output / Path(path).name for path in inputs]
    if len(set(paths)) < len(paths):
        raise UserError("two of the films have the same name; enlarge them into different folders")
    return paths
