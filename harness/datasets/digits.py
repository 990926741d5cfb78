"""Handwritten digits, 8×8."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from harness.datasets.base import Dataset, Splits
from harness.registry import entry

TRAINING_IMAGES = 1400


def _read() -> Splits:
    images = load_digits().images.astype(np.uint8)
    raw = torch.from_numpy(images).unsqueeze(1)
    return Splits(raw[:TRAINING_IMAGES], raw[TRAINING_IMAGES:])


@entry(version=1)
def digits() -> Dataset:
    """1,797 real 8×8 grey images with 17 levels, dequantized into [-1/2, 1/2].

    They ship with scikit-learn (UCI optical recognition of handwritten digits, test part). The
    first 1,400 are for training, the last 397, by other writers, for test.
    """
    return Dataset(
        "digits",
        (1, 8, 8),
        -0.5,
        0.5,
        "scikit-learn: UCI optical recognition of handwritten digits",
        "CC BY 4.0",
        _read,
        levels=17,
    )
