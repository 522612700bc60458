"""How close frames and clips are to the ground truth: images, perceptual distance, motion of clips."""

from vfi_jax.metrics.image import (
    CHANNELS,
    GAUSSIAN,
    GREY,
    SSIM,
    UNIFORM,
    USUAL,
    figures,
    interpolation_error,
    normalised_error,
    psnr,
    sharpness,
    ssim_gaussian,
    ssim_grey,
    ssim_matlab,
    ssim_uniform,
)

__all__ = [
    "CHANNELS",
    "GAUSSIAN",
    "GREY",
    "SSIM",
    "UNIFORM",
    "USUAL",
    "figures",
    "interpolation_error",
    "normalised_error",
    "psnr",
    "sharpness",
    "ssim_gaussian",
    "ssim_grey",
    "ssim_matlab",
    "ssim_uniform",
]
