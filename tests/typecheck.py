"""The checker that jaxtyping's import hook applies to the package in tests: an int is a float, as PEP 484 says."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
