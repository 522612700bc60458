"""Reading data: sources of windows, training samples, batches on the host; never JAX."""
