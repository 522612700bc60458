"""Synthetic scenes whose every frame and motion is exact."""
