"""Trains a model: `python train.py --config configs/rife_vimeo90k.py --workdir runs/rife`.

The same command in the same folder resumes the run; SIGTERM saves and stops it. The variant of a recipe follows a colon
(`configs/rife_footage.py:smoke`), and a flag sets each field (`vfi_jax/config.py` lists them): `--config.batch_size=8
--config.optimizer.rate=1e-4 --config.extra_losses.census=0.1`. With several hosts the same command runs on each: on a
TPU pod or under SLURM they find each other, elsewhere --coordinator, --processes and --process say who they are.
"""

from __future__ import annotations

from vfi_jax.system import aborts, interrupts

if __name__ == "__main__":
    interrupts.catch("train.py")
    aborts.catch("train.py")

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
from vfi_jax.system import distributed, machine, strict_json
from vfi_jax.system.files import path_of
from vfi_jax.training import fit

WORKDIR = flags.DEFINE_string("workdir", None, "the run's folder, or an address such as gs://BUCKET/FOLDER")
PRINT_CONFIG = flags.DEFINE_bool("print_config", False, "print the recipe with all its fields as JSON, and end")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "everything but the steps: check, read, validate, compile; save nothing")
DETERMINISTIC = flags.DEFINE_bool("deterministic", False, "use XLA's deterministic kernels on GPUs; slower")
PROFILE = flags.DEFINE_integer(
    "profile", 0, "number of steps to trace into the run's folder, for xprof or perfetto", lower_bound=0
)
COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "address of the first of several processes, HOST:PORT, where no cluster tells it"
)
PROCESSES = flags.DEFINE_integer("processes", None, "number of processes")
WAIT = flags.DEFINE_integer(
    "wait", distributed.WAIT, "seconds within which all processes have to be there", lower_bound=1
)
PROCESS = flags.DEFINE_integer("process", None, "number of this process, from 0")

DETERMINISTIC_OPTIONS = "--xla_gpu_deterministic_ops=true --xla_gpu_exclude_nondeterministic_ops=true"


def main(arguments: Sequence[str]) -> None:
    """Trains; a failure is one line on stderr and an exit status of `errors.exit_code`."""
    # Orbax logs every file, and failures at length that are one line here.
    logging.set_verbosity(logging.FATAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    if DETERMINISTIC.value:  # read when the backend starts, which nothing has done so far
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC_OPTIONS}".strip()
        # Whatever the options say, XLA reads from its cache the kernels that a run without them chose by their speed.
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    try:
        if len(arguments) > 1:
            raise UsageError(f"{arguments[1]!r} is not a flag: see --help")
        if flags.FLAGS.config is None or not (WORKDIR.value or PRINT_CONFIG.value):
            raise UsageError("--config FILE and --workdir FOLDER are needed")
        recipe = config.parse(config.Train, _recipe())
        if PRINT_CONFIG.value:
            config.check_bounds(recipe)
            print(strict_json.dumps(config.as_dict(recipe), indent=2))
            return
        distributed.initialize(COORDINATOR.value, PROCESSES.value, PROCESS.value, wait=WAIT.value)
        machine.keep_programs()
        folder = path_of(WORKDIR.value)
        fit.fit(recipe, folder, lambda line: print(line, flush=True), profile=PROFILE.value, dry=DRY_RUN.value)
    except jax.errors.JaxRuntimeError as error:
        if not jax.distributed.is_initialized():
            distributed.exit(_report(error))
        lost = f"a process of the run was lost ({str(error).splitlines()[0][:200]}); the same command continues"
        distributed.exit(_report(UserError(lost)))
    except errors.ANY as error:
        distributed.exit(_report(error))


def _recipe() -> dict[str, Any]:
    try:
        return flags.FLAGS.config.to_dict()
    except OSError as error:  # absl keeps it until the recipe is used
        raise UsageError(" ".join(str(error).split())) from None


def parse_flags(arguments: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses all flags, those of the recipe's fields among them; whatever is wrong is one line and exit status 2."""
    try:
        arguments = [_field_flag(argument) for argument in arguments]
        config_flags.DEFINE_config_file(
            "config",
            None,
            "recipe in configs/ and its variant, FILE[:VARIANT]",
            flag_values=values,
            lock_config=False,
            accept_new_attributes=True,  # keys of mappings; `_field_flag` knows the fields
            sys_argv=arguments,
        )
        return values(arguments)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError, SyntaxError, ImportError) as error:
        sys.exit(_report(UsageError(errors.usage("train.py", _brief(error)))))


def _field_flag(argument: str) -> str:
    """The flag of a recipe's field as ml_collections reads it; any other argument as it is."""
    flag, equals, value = argument.partition("=")
    dashes, dot, path = flag.partition("config.")
    if not dot or dashes.lstrip("-") not in ("", "no") or not dashes.startswith("-") or "[" in path:
        return argument
    return f"{dashes}config.{config.field_path(path)}{equals}{value}"


def _brief(error: BaseException) -> str:
    """The message of the error that a recipe raised, where absl and ml_collections wrapped it."""
    if isinstance(error, KeyError):
        return f"the recipe has no {error.args[0]}; vfi_jax.config.defaults builds one with every field"
    cause = error
    while (cause := cause.__cause__ or cause.__context__) is not None:
        if isinstance(cause, UsageError) and "\n" not in str(cause):
            return str(cause)
    return str(error)


def _report(error: BaseException) -> int:
    process = f": process {jax.process_index()}" if jax.distributed.is_initialized() else ""
    continues = "; the same command continues from the last checkpoint"
    return errors.report(f"train.py{process}", error, interrupted=continues)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
