"""Segments: what makes a run that was killed go on where it was."""
