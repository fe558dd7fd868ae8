"""From a model's rows of numbers to what is sent: unit vectors as bytes, or scores."""

import numpy as np
from numpy.typing import NDArray

LITTLE_ENDIAN = "<f4"


def unit_vectors(rows: NDArray[np.float32], dimensions: int | None = None) -> tuple[bytes, ...]:
    """Return each row's first ``dimensions`` components (``None``: all) at length 1, as bytes.

    The beginning of a vector is one in its own right where the model was trained for it
    (Matryoshka representation learning, arXiv 2205.13147); elsewhere it merely loses accuracy.
    """
    kept = rows[:, :dimensions].astype(np.float64)
    lengths = np.linalg.norm(kept, axis=1, keepdims=True)
    units = kept / np.where(lengths == 0, 1, lengths)
    return tuple(row.tobytes() for row in units.astype(LITTLE_ENDIAN))


def scores(rows: NDArray[np.float32]) -> tuple[float, ...]:
    """Return each row's score: the first class of the rank head, as llama-server tells it."""
    return tuple(rows[:, 0].tolist())
