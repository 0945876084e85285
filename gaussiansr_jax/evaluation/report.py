"""Evaluation results as a table and as JSON."""

import math

_COLUMNS = {
    "psnr_y": ("PSNR-Y", ".2f"),
    "ssim_y": ("SSIM-Y", ".4f"),
    "psnr_rgb": ("PSNR-RGB", ".2f"),
    "bicubic_psnr_y": ("bicubic PSNR-Y", ".2f"),
    "bicubic_ssim_y": ("bicubic SSIM-Y", ".4f"),
    "bicubic_psnr_rgb": ("bicubic PSNR-RGB", ".2f"),
}


def table(results: dict, per_image: bool = False) -> str:
    """A Markdown table, aligned so that it reads well on a terminal.

    Args:
      results: {data set: {scale: scores of `protocol.mean_scores`}}.
      per_image: whether each image has a line, too.
    """
    rows = [["data", "scale", *(title for title, _ in _COLUMNS.values())]]
    for name, scales in results.items():
        for scale, scores in scales.items():
            if per_image:
                rows += [
                    _row(f"{name}/{image}", scale, values)
                    for image, values in scores["images"].items()
                ]
            rows.append(_row(name, scale, scores))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(_aligned(row, widths)) + " |" for row in rows]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def explain(exact: bool) -> str:
    """Which values were scored, in one line."""
    if exact:
        return "Model and bicubic are scored as computed, not rounded to 8 bits."
    return "Model and bicubic are both rounded to 8 bits before they are scored."


def plain(results: dict | float) -> dict | float | None:
    """Results as JSON can hold them: the infinite PSNR of equal images becomes null."""
    if isinstance(results, dict):
        return {name: plain(value) for name, value in results.items()}
    return results if math.isfinite(results) else None


def _row(name: str, scale: str, scores: dict) -> list[str]:
    return [name, f"x{scale}", *(format(scores[key], f) for key, (_, f) in _COLUMNS.items())]


def _aligned(row: list[str], widths: list[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]
