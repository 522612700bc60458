"""Checking an output against its input."""
