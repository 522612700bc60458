"""`vfi-jax compare`: our models beside published PyTorch implementations, on the same weights and frames.

Each side computes in its own process, which answers orders of one line (`workers`): `jax_worker` has JAX and no torch,
`torch_worker` torch and no JAX, perhaps under another Python. `adapters` lists the public repositories, `jobs` writes
weights and frames, `launch` starts the processes, `measure` compares and times them, `report` writes the outcome.
"""
