"""`python -m gaussiansr_jax export`: a model as a file that other programs run."""

import argparse
from pathlib import Path

from gaussiansr_jax.errors import UserError, needs_extra
from gaussiansr_jax.files import refuse_existing

HELP = "Write a model at one scale as ONNX or StableHLO, for other programs."
FORMATS = {"onnx": ".onnx", "stablehlo": ".stablehlo"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "weights", help="a shipped name, a .safetensors file, a training folder or a PyTorch .pth"
    )
    parser.add_argument("output", help="the file to write; its ending says the format")
    parser.add_argument(
        "--format", choices=FORMATS, help="where the ending of the file does not say it"
    )
    parser.add_argument("--scale", required=True, help="a whole number from 1 to 16")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def main(args: argparse.Namespace) -> None:
    """Runs the command.

    Raises:
      UserError: wrong arguments, no such weights, or a model that cannot be exported.
    """
    path = Path(args.output)
    kind = args.format or next((k for k, end in FORMATS.items() if path.suffix == end), None)
    if kind is None:
        raise UserError(
            f"{path}: a model is written as something{' or something'.join(FORMATS.values())}; "
            "or say --format"
        )
    if not args.scale.isdecimal() or not int(args.scale):
        raise UserError(
            f"--scale {args.scale}: an exported model has one whole scale, like 2; write one file "
            "for each scale"
        )
    refuse_existing(path, args.overwrite)
    with needs_extra("export", "export"):
        import flatbuffers  # noqa: F401  (JAX imports it only when all is computed)

        if kind == "onnx":
            from gaussiansr_jax.exporting import onnx_file
    from gaussiansr_jax import loading

    params, config, _ = loading.resolve(args.weights)
    if kind == "onnx":
        name = Path(args.weights).stem
        onnx_file.write(path, params, config, int(args.scale), name, args.overwrite)
    else:
        from gaussiansr_jax.exporting import stablehlo_file

        stablehlo_file.write(path, params, config, int(args.scale), args.overwrite)
    print(path)
