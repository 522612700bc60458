"""PyTorch files and names, without PyTorch."""
