"""Synthetic scenes, in which every frame and all motion is exact."""
