"""The commands of `vfi-jax`: argparse and a few lines each."""
