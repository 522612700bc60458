"""Evaluation protocols as data, and the one evaluation that serves them all.

Unless a protocol says otherwise, the predicted frame is rounded to 8 bits (half to even) and compared with the 8-bit
truth: PSNR over all pixels and channels, SSIM in the "matlab" variant, IE the mean absolute difference; each is a mean
over images (RIFE's benchmark scripts).
"""

from __future__ import annotations

from vfi_jax.benchmarks.protocol import Benchmark, Sample, fingerprint
from vfi_jax.benchmarks.scoring import Score, means, motion_of, pictures, predict, scores, strip
from vfi_jax.benchmarks.table import BENCHMARKS, KINDS, named

__all__ = [
    "BENCHMARKS",
    "KINDS",
    "Benchmark",
    "Sample",
    "Score",
    "fingerprint",
    "means",
    "motion_of",
    "named",
    "pictures",
    "predict",
    "scores",
    "strip",
]
