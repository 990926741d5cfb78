"""Handwritten digits, 8×8."""

import numpy as np
import torch
from sklearn.datasets import load_digits

from harness.datasets.base import Dataset, Splits
from harness.registry import entry

TRAINING_IMAGES = 1400


def _read() -> Splits:
    data = load_digits()
    raw = torch.from_numpy(data.images.astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(data.target.astype(np.int64))
    parts = slice(TRAINING_IMAGES), slice(TRAINING_IMAGES, None)
    return Splits(*(raw[part] for part in parts), *(labels[part] for part in parts))


@entry(version=1)
def digits() -> Dataset:
    """1,797 real 8×8 grey images with 17 levels, dequantized into [-1/2, 1/2].

    They ship with scikit-learn (UCI optical recognition of handwritten digits, test part). The
    first 1,400 are for training, the last 397, by other writers, for test. Each is labelled by its
    digit.
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
        classes=10,
    )
