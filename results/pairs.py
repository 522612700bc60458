"""Times two models in turn on frames of 1280x720: `python results/pairs.py rife_v4_25 rife_lap_s`.

Prints the median and the quartiles of the second model's time over the first's within pairs.
"""

import sys
import time

import numpy as np

import vfi_jax

PAIRS = 20


def main() -> None:
    """Measures and prints a line."""
    frames = np.random.default_rng(0).integers(0, 256, (2, 720, 1280, 3), np.uint8)
    models = [vfi_jax.Interpolator(*vfi_jax.load(name)) for name in sys.argv[1:3]]
    taken = np.zeros((PAIRS, 2))
    for number in (*range(-2, 0), *range(PAIRS)):  # two warm-up pairs, overwritten by the last ones
        for index in (0, 1) if number % 2 else (1, 0):
            begun = time.perf_counter()
            models[index](*frames)
            taken[number, index] = time.perf_counter() - begun
    low, median, high = np.quantile(taken[:, 1] / taken[:, 0], (0.25, 0.5, 0.75))
    first, second = sys.argv[1:3]
    print(f"{second}: {median:.3f} of the time of {first} ({PAIRS} pairs, quartiles {low:.3f} and {high:.3f})")


if __name__ == "__main__":
    main()
