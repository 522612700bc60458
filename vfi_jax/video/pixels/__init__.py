"""Pixels of video frames: formats, colors, and conversion to RGB and back."""
