"""Trains a model: `python train.py --config configs/rife_vimeo90k.py --workdir runs/rife`.

The same command in the same folder continues; SIGTERM saves and ends it. A variant of a config stands after a colon
(`configs/rife_footage.py:smoke`), and any value can be set: `--config.data.path=clips --config.batch_size=8`. On
several hosts the same command runs on each: a TPU pod or SLURM says which is which, elsewhere the last three flags do.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from vfi_jax import config, errors
from vfi_jax.errors import UsageError, UserError
from vfi_jax.system import distributed, machine
from vfi_jax.system.files import path_of
from vfi_jax.training import fit

CONFIG = config_flags.DEFINE_config_file("config", None, "a file in configs/, and its variant: FILE[:VARIANT]")
WORKDIR = flags.DEFINE_string("workdir", None, "the run's folder, or an address such as gs://BUCKET/FOLDER")
DETERMINISTIC = flags.DEFINE_bool("deterministic", False, "on GPUs: XLA's deterministic kernels; slower")
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "of several processes, where the cluster does not say: HOST:PORT"
)
PROCESSES = flags.DEFINE_integer("processes", None, "their number")
PROFILE = flags.DEFINE_integer(
    "profile", 0, "steps to trace, into the run's folder: for xprof or perfetto", lower_bound=0
)
PROCESS = flags.DEFINE_integer("process", None, "which of them this is, from 0")

DETERMINISTIC_OPTIONS = "--xla_gpu_deterministic_ops=true --xla_gpu_exclude_nondeterministic_ops=true"


def main(arguments: Sequence[str]) -> None:
    """Runs; a failure is one line on stderr: exit status 2 for wrong usage, 1 for any other."""
    # Orbax tells every file, and failures at length that are told here in a line.
    logging.set_verbosity(logging.FATAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    if DETERMINISTIC.value:  # read when the backend starts, which nothing has done so far
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC_OPTIONS}".strip()
        # XLA takes kernels that a run without these options chose by their time from there, whatever the options say.
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    try:
        if len(arguments) > 1:
            raise UsageError(f"{arguments[1]!r} is no flag: see --help")
        if CONFIG.value is None or not WORKDIR.value:
            raise UsageError("--config FILE and --workdir FOLDER are needed")
        distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS.value)
        machine.keep_programs()
        run, folder = config.parse(config.Train, _recipe()), path_of(WORKDIR.value)
        fit.fit(run, folder, lambda line: print(line, flush=True), profile=PROFILE.value)
    except errors.EXPECTED as error:
        distributed.exit(_report(error))
    except jax.errors.JaxRuntimeError as error:
        if not jax.distributed.is_initialized():
            raise
        lost = f"a process of the run was lost ({str(error).splitlines()[0][:200]}); the same command continues"
        distributed.exit(_report(UserError(lost)))


def _recipe() -> dict[str, Any]:
    try:
        return CONFIG.value.to_dict()
    except OSError as error:  # kept by absl until the config is used
        raise UsageError(" ".join(str(error).split())) from None


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """Parses the flags as absl does, with one line for whatever is wrong."""
    try:
        return flags.FLAGS(list(arguments))
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError, ImportError) as error:
        missing = isinstance(error, KeyError | AttributeError)  # a name that the recipe lacks, and perhaps a guess
        text = f"the recipe has no {_unquoted(str(error.args[0]))}" if missing else str(error)
        sys.exit(_report(UsageError(" ".join(text.split()))))


def _unquoted(text: str) -> str:
    """What ml_collections quoted, if it did."""
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text


def _report(error: BaseException) -> int:
    process = f": process {jax.process_index()}" if jax.distributed.is_initialized() else ""
    continues = "; the same command continues from the last checkpoint"
    return errors.report(f"train.py{process}", error, interrupted=continues)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
