"""How close frames and clips are to the ground truth: images, perceptual distance, motion of clips."""

from vfi_jax.metrics.image import (
    CHANNELS,
    GAUSSIAN,
    GRAY,
    SSIM,
    UNIFORM,
    USUAL,
    figures,
    interpolation_error,
    normalized_error,
    psnr,
    sharpness,
    ssim_gaussian,
    ssim_gray,
    ssim_matlab,
    ssim_uniform,
)

__all__ = [
    "CHANNELS",
    "GAUSSIAN",
    "GRAY",
    "SSIM",
    "UNIFORM",
    "USUAL",
    "figures",
    "interpolation_error",
    "normalized_error",
    "psnr",
    "sharpness",
    "ssim_gaussian",
    "ssim_gray",
    "ssim_matlab",
    "ssim_uniform",
]
