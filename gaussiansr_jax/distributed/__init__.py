"""Several processes, on one host or many, that work as one."""

from gaussiansr_jax.distributed.agreement import agree, check_shared, code_digest
from gaussiansr_jax.distributed.arrays import broadcast, connect_devices, gather
from gaussiansr_jax.distributed.group import Group
from gaussiansr_jax.distributed.place import Place, find_place
from gaussiansr_jax.distributed.shares import Share, parse_share
from gaussiansr_jax.distributed.startup import current, joined

__all__ = [
    "Group",
    "Place",
    "Share",
    "agree",
    "broadcast",
    "check_shared",
    "code_digest",
    "connect_devices",
    "current",
    "find_place",
    "gather",
    "joined",
    "parse_share",
]
