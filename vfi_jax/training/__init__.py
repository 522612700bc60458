"""Training: from a recipe to curves and weights."""
