"""Series without any effect, as the analyses meet them."""

import numpy as np


def persistent(rng: np.random.Generator, count: int, columns: int, phi: float) -> np.ndarray:
    """Stationary AR(1) series of variance 1 as columns, shape (count, columns)."""
    noise = rng.standard_normal((count, columns))
    for row in range(1, count):
        noise[row] = phi * noise[row - 1] + np.sqrt(1 - phi**2) * noise[row]
    return noise
