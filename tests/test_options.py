"""Options of all programs, at random: parsed, or refused in one line that names the help to read; nothing is run."""

import argparse
import contextlib
import copy
import io
from pathlib import Path

import eval_program
import pytest
from absl import flags
from absl.testing import flagsaver
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vfi_jax import config
from vfi_jax.cli import main as cli_main
from vfi_jax.errors import UserError
from vfi_jax.evaluation import speed
from vfi_jax.runs.selection import parse_step

pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")  # of ml_collections
RECIPE = Path(__file__).parent.parent / "configs" / "rife_footage.py"
few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
VALUE = st.sampled_from(
    ["", "-", "--", "=", "nan", "-inf", "1e999", "0", "-1", "9" * 5000, "\u00b2", "\u0663", "in.mp4", "a=b", "a,b", ",",
     "rife", "best", "https://a.b/c", "gs://a/b", "\0", "\ud800", "\n", "None", "True", "()", "[", "{'a': 1}", "/", "."]
) | st.text(max_size=4)  # fmt: skip


def commands(parser, names=()):
    """Names of every command of the shell, and its options."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    options = sorted({text for action in parser._actions for text in action.option_strings} - {"-h", "--help"})
    yield (*names,), options
    for action in inner:
        for name, command in action.choices.items():
            yield from commands(command, (*names, name))


COMMANDS = dict(commands(cli_main.parser()))


def words(options):
    """Lists of options with and without values, values alone, and options that are misspelled."""
    option = st.sampled_from([*options, "--nonsense"])
    joined = st.tuples(option, VALUE).map("=".join)
    return st.lists(option | joined | VALUE | option.map(lambda text: f"{text}x"), max_size=5)


def refused(parse, program):
    """The line that refuses arguments, with exit status 2; "" if they are parsed."""
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(io.StringIO()):
        code = 0
        try:
            parse()
        except SystemExit as leaving:
            code = leaving.code
    if not code:
        return ""
    assert code == 2
    (line,) = shown.getvalue().splitlines()
    assert line.startswith(program)
    assert line.endswith(" --help)")
    return line


@pytest.mark.parametrize("names", [names for names in COMMANDS if names], ids="-".join)
@settings(few, max_examples=8)
@given(st.data())
def test_each_command_of_the_shell(names, data):
    """An option that a command does not know points to that command's help."""
    arguments = data.draw(words([text for text in COMMANDS[names] if text != "--version"]))
    parser = cli_main.parser()
    refused(lambda: parser.parse_args([*names, *arguments]), "vfi-jax")
    line = refused(lambda: parser.parse_args([*names, "--nonsense", *arguments]), "vfi-jax")
    assert f"(see vfi-jax {' '.join(names)}" in line


def flag_values(own):
    """Flags of a program by themselves, which may be parsed again and again."""
    values = flags.FlagValues()
    for name in own:
        values[name] = copy.deepcopy(flags.FLAGS[name])
    return values


def own_flags(script):
    return [flag.name for flag in flags.FLAGS.get_key_flags_for_module(script)]


@few
@given(st.data())
def test_eval(data):
    script = eval_program.program()
    names = [f"--{name}" for name in own_flags(script)]
    arguments = data.draw(words([*names, "--notta", "--per_imag", "--flagfile"]))
    with flagsaver.flagsaver():
        if not refused(lambda: script.parse_flags(["eval.py", *arguments]), "eval.py"):
            for check in (script._benchmarks, lambda: speed.parse_size(script.SIZE.value), step_of(script)):
                with contextlib.suppress(UserError):
                    check()


def step_of(script):
    return lambda: parse_step(script.STEP.value)


@few
@given(st.data())
def test_train(train_module, data):
    fields = [f"--config.{path}" for path in config.flat(config.Train("rife"))]
    names = [f"--{name}" for name in own_flags(train_module)]
    recipe = f"--config={RECIPE}{data.draw(st.sampled_from(['', ':smoke', ':x', '/', 'x']))}"
    arguments = data.draw(words([*fields, *fields, *names, "--config", "--config.data", "--config.fields.a.b"]))
    values = flag_values(own_flags(train_module))
    if not refused(lambda: train_module.parse_flags(["train.py", recipe, *arguments], values), "train.py"):
        with contextlib.suppress(UserError, OSError):
            config.check_bounds(config.parse(config.Train, values.config.to_dict()))
