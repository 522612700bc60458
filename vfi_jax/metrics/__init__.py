"""Metrics against ground truth: of images, of perceptual distance, and of motion in clips."""

from vfi_jax.metrics.image import (
    MAX_PSNR,
    SSIM_VARIANTS,
    USUAL,
    figures,
    interpolation_error,
    normalized_error,
    psnr,
    sharpness,
    ssim,
)

__all__ = [
    "MAX_PSNR",
    "SSIM_VARIANTS",
    "USUAL",
    "figures",
    "interpolation_error",
    "normalized_error",
    "psnr",
    "sharpness",
    "ssim",
]
