"""Random streams: one generator for each purpose, so that no draw shifts another's."""

import hashlib

import torch


def generator(seed: int, purpose: str) -> torch.Generator:
    """A generator on the CPU for one purpose of one seed.

    All randomness is drawn on the CPU and moved, so that a cell sees the same numbers on every
    device.

    Args:
        seed: The cell's seed.
        purpose: What is drawn, such as ``"initialisation"``; each purpose has its own stream.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
