"""A run whose folder is in an object store; the store is a fake, the code that talks to it is not."""

import sys

import jax
import numpy as np
import pytest
from etils import epath
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from orbax.checkpoint._src.path import gcs_utils
from tiny_runs import RUN, losses, newest

import vfi_jax
from vfi_jax.errors import UserError
from vfi_jax.runs import log
from vfi_jax.runs.log import read_log
from vfi_jax.system import lock
from vfi_jax.system.files import path_of, written_whole
from vfi_jax.training import fit


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """`gs://bucket`, kept in a folder: for `epath` by a file system made here, for TensorStore by its file driver."""
    root = tmp_path / "store"
    (root / "bucket").mkdir(parents=True)

    class Store(DirFileSystem):
        protocol = ("gcs", "gs")
        cachable = False

        def __init__(self, **_):
            super().__init__(str(root), LocalFileSystem(auto_mkdir=True))

        @classmethod
        def _strip_protocol(cls, path):
            return str(path).removeprefix("gs://").rstrip("/")

    def kept(path):
        return {"driver": "file", "path": str(root / Store._strip_protocol(path))}

    monkeypatch.setattr(type(epath.backend.fsspec_backend), "_get_filesystem", lambda *_: Store())
    monkeypatch.setattr(lock, "SETTLE", 0.02)
    monkeypatch.setattr(gcs_utils, "get_kvstore_for_gcs", kept)
    monkeypatch.setattr(gcs_utils, "is_hierarchical_namespace_enabled", lambda _: False)  # asks Google
    return root / "bucket"


@pytest.mark.slow
def test_a_run_in_a_bucket(bucket, whole):
    """Stopped and continued it leaves what a run on the disk leaves, to the last bit."""
    there = path_of("gs://bucket/runs/there")

    def interrupt(line):
        if line.startswith("step 3/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.fit(RUN, there, interrupt)
    lines = []
    fit.fit(RUN, there, lines.append)
    assert lines[0] == "continuing from step 2"
    assert losses(there) == losses(whole)
    jax.tree.map(np.testing.assert_array_equal, newest(there), newest(whole))
    ours, theirs = ({path.name for path in place.iterdir()} for place in (bucket / "runs/there", whole))
    assert ours == theirs
    assert (bucket / "runs/there/samples/0000004.png").stat().st_size > 1000
    variables = [vfi_jax.load("rife_lap", place)[1] for place in ("gs://bucket/runs/there", whole)]
    jax.tree.map(np.testing.assert_array_equal, *variables)


def test_objects_are_whole(bucket):
    """A file that could not be finished is not there, and nothing else is either."""
    path = path_of("gs://bucket/a/b.txt")
    with written_whole(path) as partial:
        partial.write_text("one")
    assert (bucket / "a/b.txt").read_text() == path.read_text() == "one"

    def fail():
        with written_whole(path) as partial:
            partial.write_text("two")
            raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        fail()
    assert [(file.name, file.read_text()) for file in (bucket / "a").iterdir()] == [("b.txt", "one")]


def test_the_log_is_uploaded_before_a_step_is(bucket, monkeypatch):
    """A run that is killed has all rows up to the step that it continues from."""
    there = path_of("gs://bucket/run")
    there.mkdir(parents=True)
    rows = log.Log(there, 0)
    rows.write({"step": 1, "loss": 0.5})
    assert read_log(there) == []
    rows.flush()
    assert read_log(there) == [{"step": 1, "loss": 0.5}]
    monkeypatch.setattr(log, "UPLOAD_EVERY", 0)
    rows.write({"step": 2, "loss": 0.4})
    assert len(read_log(there)) == 2
    rows.close()


def test_stores_that_cannot_be_reached(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError, match=r"gs://x/y cannot be reached: .*pip install 'vfi_jax\[gcs\]'"):
        path_of("gs://x/y")
    with pytest.raises(UserError, match=r"nope://x cannot be reached"):
        path_of("nope://x")
    assert path_of(tmp_path) == tmp_path
