"""`vfi-jax compare`: ours beside a published PyTorch implementation, same weights, same frames, same run.

Each side computes in a process of its own, which waits for orders of one line (`worker_channel`): `ours` has JAX and no
torch, `theirs` torch and no JAX, perhaps under another Python. `measure` gives the orders, `outcome` tells what came
of them, `adapters` knows the public repositories.
"""
