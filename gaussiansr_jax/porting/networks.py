"""Recognizes other well-known networks by the names of their tensors, for error messages."""

import re
from collections.abc import Iterable

# A network, and patterns that each match one of its names. The first network that fits counts.
_OTHERS = (
    ("CiaoSR", r"imnet_q\.", r"imnet_k\."),
    ("LTE", r"imnet\.", r"^coef\.", r"^freq\.", r"^phase\."),
    ("SRNO", r"^conv00\.weight", r"^conv0\.qkv_proj\."),
    ("HAT", r"layers\.0\.residual_group\.blocks\.0\.conv_block\.cab\."),
    ("Swin2SR", r"layers\.0\.residual_group\.blocks\.0\.attn\.logit_scale"),
    ("SwinIR", r"layers\.0\.residual_group\.blocks\.0\.attn\."),
    ("DAT", r"layers\.0\.blocks\.0\.ffn\.sg\."),
    ("RCAN", r"body\.0\.body\.0\.body\.3\.conv_du\."),
    ("ESRGAN (RRDBNet)", r"(RRDB_trunk|body)\.0\.(RDB|rdb)1\.conv1\.|\.sub\.0\.RDB1\.conv1\."),
    ("SRResNet", r"conv_first\.", r"(recon_trunk|body)\.0\.conv1\."),
    ("EDSR", r"head\.0\.weight", r"body\.0\.body\.0\.weight"),
    ("RDN", r"SFENet1\.weight"),
    ("Real-ESRGAN's small network (SRVGGNetCompact)", *(rf"^body\.{i}\.weight" for i in range(5))),
    ("SPAN", r"block_1\.c1_r\."),
    ("NAFNet", r"^intro\.weight", r"middle_blks\."),
    ("Restormer", r"encoder_level1\.0\.attn\.temperature"),
    ("Stable Diffusion", r"model\.diffusion_model\."),
    ("LIIF", r"imnet\.layers\.0\.weight"),
)


def guess(names: Iterable[str]) -> str | None:
    """The network that has tensors of these names, as far as known.

    Examples:
      >>> guess(["conv_first.weight", "body.0.rdb1.conv1.weight", "conv_last.weight"])
      'ESRGAN (RRDBNet)'
    """
    names = list(names)
    for network, *patterns in _OTHERS:
        if all(any(re.search(pattern, name) for name in names) for pattern in patterns):
            return network
    return None
