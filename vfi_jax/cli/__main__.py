"""`python -m vfi_jax.cli`."""

import sys

from vfi_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
