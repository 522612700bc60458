"""PyTorch files and names, without PyTorch.

Three lines show the use:

    state = read_torch("flownet.pkl")  # name to NumPy array; runs nothing that the file names
    variables = from_torch(model, state, spec)  # checked against the model's own names, converted to its layout
    write_torch("mine.pth", to_torch(spec, variables))  # `torch.load` reads it
"""

from vfi_jax.torch_io.reader import read_torch
from vfi_jax.torch_io.state_dict import from_torch, to_torch
from vfi_jax.torch_io.writer import write_torch

__all__ = ["from_torch", "read_torch", "to_torch", "write_torch"]
