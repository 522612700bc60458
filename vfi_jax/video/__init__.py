"""Whole videos: decoding with exact times and colors, interpolating, encoding, copying the other streams."""

from vfi_jax.video.interpolate import Summary, interpolate_video

__all__ = ["Summary", "interpolate_video"]
