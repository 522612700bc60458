"""The program `vfi-jax`: catches Ctrl-C and lack of memory before the slow imports."""

import sys

from vfi_jax.system import aborts, interrupts

interrupts.catch("vfi-jax")
aborts.catch("vfi-jax")

from vfi_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
