"""Early stopping: the rule, and runs that it ends."""

import dataclasses

import pytest
from tiny_runs import RUN, idle_step, quiet

from vfi_jax.config import EarlyStopping
from vfi_jax.errors import UserError
from vfi_jax.runs.validations import Validations
from vfi_jax.training import fit, saving, summary, validate
from vfi_jax.training.early_stopping import reason
from vfi_jax.training.run import Run

SCORES = [(10, 30.0), (20, 30.4), (30, 30.4), (40, 30.45)]
STOPPED = dataclasses.replace(RUN, checkpoint_every=1, validate_every=1, early_stopping=EarlyStopping(1))


def test_the_rule():
    assert reason(EarlyStopping(), SCORES) == reason(EarlyStopping(1), SCORES) == reason(EarlyStopping(1), []) == ""
    assert reason(EarlyStopping(1), SCORES[:3]) == "1 validation did not improve on step 20 (30.400 dB)"
    gain = EarlyStopping(2, 0.1)
    assert reason(gain, SCORES[:3]) == ""
    assert reason(gain, SCORES) == "2 validations in a row did not improve by more than 0.1 dB on step 20 (30.400 dB)"
    assert reason(EarlyStopping(3, 0.1), SCORES) == ""
    assert reason(EarlyStopping(1, 0.5), [(1, 30.0), (2, 30.4), (3, 30.8)]) == ""  # 0.8 dB above the best so far


@pytest.fixture
def scores(monkeypatch):
    """Makes validations give these scores, one after the other; None: it fails; KeyError: it kills the process."""
    values = []

    def attempt(run, _, step):
        value = values.pop(0)
        if value is KeyError:
            raise KeyboardInterrupt
        return None if value is None else validate.Validation(value, 0.1, 2, 0, 0, [])

    monkeypatch.setattr(saving, "attempt", attempt)
    monkeypatch.setattr(Run, "make_step", idle_step(0))
    return values


@pytest.mark.slow
def test_a_killed_run_ends_where_an_unbroken_one_does(tmp_path, scores):
    """With all that a finished run leaves; the same command says so again; with more patience the run goes on."""
    lines, again, more = [], [], []
    scores += [30.0, None, KeyError]
    with pytest.raises(KeyboardInterrupt):
        fit.fit(STOPPED, tmp_path, lines.append)
    assert "early stopping: after 1 validation that does not improve on the best score" in lines
    scores += [29.0]
    fit.fit(STOPPED, tmp_path, lines.append)
    assert lines[-1] == (
        "complete: stopped early at step 3 of 4, because 1 validation did not improve on step 1 (30.000 dB); to train "
        "further raise --config.early_stopping.patience"
    )
    fit.fit(STOPPED, tmp_path, again.append)  # no score is left: nothing is validated
    assert again == lines[-1:]
    scores += [28.0]
    fit.fit(dataclasses.replace(STOPPED, early_stopping=EarlyStopping(2)), tmp_path, more.append)
    assert more[:2] == ["config.early_stopping.patience is 2 now (1 before)", "continuing from step 3"]
    assert not any("early" in line for line in more[2:])  # the last step is not early
    assert Validations(tmp_path).scores(4) == [(1, 30.0), (3, 29.0), (4, 28.0)]


def test_steps_that_are_skipped_are_no_success(tmp_path, scores, monkeypatch):
    """A run of which nothing is learned stops early, too: that is exit status 1."""
    monkeypatch.setattr(Run, "make_step", idle_step(1))
    scores += [30.0, 30.0]
    lines = []
    with pytest.raises(UserError, match=r"^2 of 2 steps were skipped, .* lower --config\.optimizer\.rate"):
        fit.fit(STOPPED, tmp_path, lines.append)
    assert any(line.startswith("complete: stopped early at step 2 of 4, because 1 validation") for line in lines)


def test_scores_after_the_present_step_do_not_count(tmp_path):
    """Those of steps to which a run returned, because a later one was damaged."""
    validations = Validations(tmp_path)
    for step, score in {2: 30.0, 10: None, 4: 31.0, 6: 29.0}.items():
        validations.finish(step, {"psnr": score})
    validations.begin(5)
    assert Validations(tmp_path).scores(5) == [(2, 30.0), (4, 31.0)]
    assert Validations(tmp_path).scores(20) == [(2, 30.0), (4, 31.0), (6, 29.0)]


def test_summary_is_silent_by_default(tmp_path):
    with fit.open_run(RUN, tmp_path, quiet) as run:
        assert not any("early" in line for line in summary.lines(run))
