"""One run on any number of devices and processes: the same losses, the same weights, the same end."""

import contextlib
import dataclasses
import http.server
import re
import runpy
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import ClassVar

import jax
import numpy as np
import optax
import pytest
from tiny_runs import ROOT, RUN, Command, losses, newest, quiet

from vfi_jax.config import Optimizer, Train, parse
from vfi_jax.errors import UsageError
from vfi_jax.nn.precision import PRECISIONS
from vfi_jax.runs.checkpoints import Checkpoints
from vfi_jax.runs.log import read_log
from vfi_jax.system import distributed, sharding
from vfi_jax.training import fit
from vfi_jax.training.optimizer import make_optimizer
from vfi_jax.training.state import init_state
from vfi_jax.training.step import make_step

STEPS = 20
# The rate is that of the recipe and small: losses of warped frames have kinks, and a weight that a larger step of Adam
# carries across one, for want of the last bit, leads elsewhere. It does not depend on the number of steps.
LONG = dataclasses.replace(
    RUN,
    steps=STEPS,
    batch_size=8,
    data=dataclasses.replace(RUN.data, path="synthetic:24"),
    optimizer=Optimizer(rate=1e-4, final_rate=1e-4, clip_norm=1.0),
    checkpoint_every=10,
    validate_every=20,
)
TOPOLOGIES = {  # processes, devices of each, parts of the batch
    "2 devices": (1, 2, 1),
    "4 devices": (1, 4, 1),
    "8 devices": (1, 8, 1),
    "2 parts": (1, 1, 2),
    "2 devices, 2 parts": (1, 2, 2),
    "2 processes of 2 devices": (2, 2, 1),
}
BETWEEN = ("2 devices", "4 devices", "2 devices, 2 parts")  # a minute each


def devices(count):
    return {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}", "JAX_PLATFORMS": "cpu"}


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Processes:
    """The processes of one run of `train.py`; `cluster` has environments that tell each which it is, not flags."""

    def __init__(self, run, recipe, folder, processes, count, options=("", ""), script="train.py", cluster=None):
        command = Command(run, recipe, folder, **devices(count))
        flags = processes > 1 and cluster is None
        several = [f"--coordinator=127.0.0.1:{free_port()}", f"--processes={processes}"] if flags else []
        environment = command.options.pop("env")
        self.each = [
            subprocess.Popen(
                [
                    command.arguments[0],
                    str(script),
                    *command.arguments[2:],
                    *several,
                    *([f"--process={process}"] if several else []),
                    *filter(None, options[process : process + 1]),
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**environment, **(cluster[process] if cluster else {})},
                **command.options,
            )
            for process in range(processes)
        ]

    def ended(self):
        """Exit status, standard output and error of each."""
        try:
            texts = [process.communicate(timeout=1500) for process in self.each]
        finally:
            for process in self.each:
                process.kill()
        return [(process.returncode, *text) for process, text in zip(self.each, texts, strict=True)]


def trained(run, folder, processes=1, count=1):
    """Output of the first process of a run that ends well."""
    ends = Processes(run, folder.parent / f"{folder.name}.py", folder, processes, count).ended()
    assert [code for code, _, _ in ends] == [0] * processes, ends
    assert not any(out for _, out, _ in ends[1:] if "[Gloo]" not in out)
    return ends[0][1]


def gradients(run, folder, topology):
    """Of a first step, by Adam's first moments, which are a tenth of them."""
    processes, count, parts = topology
    trained(dataclasses.replace(run, steps=1, accumulate=parts), folder, processes, count)
    return optax.tree.get(newest(folder)["optimizer"], "mu")


def distances(found, wanted):
    """max |a - b| over max |b| of each array."""
    return jax.tree.leaves(jax.tree.map(lambda a, b: float(np.abs(a - b).max() / np.abs(b).max()), found, wanted))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run on one device."""
    folder = tmp_path_factory.mktemp("runs") / "alone"
    trained(LONG, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long) if name in BETWEEN else name for name in TOPOLOGIES]
)
def test_topologies_agree(alone, tmp_path, name):
    """After 20 steps: losses to 1e-5, weights to 1e-5.

    Where Adam divides by a second moment that is almost zero an array may be 1e-3 away, if the gradients of one step
    from equal weights are equal to 1e-5.
    """
    topology = processes, count, parts = TOPOLOGIES[name]
    trained(dataclasses.replace(LONG, accumulate=parts), tmp_path / "run", processes, count)
    ours, theirs = losses(tmp_path / "run"), losses(alone)
    away = distances(newest(tmp_path / "run")["params"], newest(alone)["params"])
    difference = max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))
    above = f"{sum(a > 1e-5 for a in away)} of {len(away)} above 1e-5"
    print(f"\n{name}: losses {difference:.1e}, weights {max(away):.1e} ({above})")
    assert len(ours) == STEPS
    assert difference < 1e-5
    assert max(away) < 1e-3
    if max(away) > 1e-5:
        first = distances(gradients(LONG, tmp_path / "1", topology), gradients(LONG, tmp_path / "2", (1, 1, 1)))
        print(f"gradients of one step {max(first):.1e}")
        assert max(first) < 1e-5
    scores = [row["validation_psnr"] for row in map(last_score, (tmp_path / "run", alone))]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def last_score(folder):
    return [row for row in read_log(folder) if "validation_psnr" in row][-1]


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "count"), [(1, 4), (2, 1)])
def test_continued_on_other_devices(alone, tmp_path, processes, count):
    """The first step's loss is the same to 1e-6; then as above."""
    shutil.copytree(alone, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/20")
    assert "continuing from step 10\n" in trained(LONG, tmp_path / "run", processes, count)  # Gloo speaks first
    ours, theirs = losses(tmp_path / "run"), losses(alone)
    assert ours[:10] == theirs[:10]
    assert ours[10] == pytest.approx(theirs[10], rel=1e-6)
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all(tmp_path):
    """At the same step, which is saved, and every exit status is 0; the same command continues."""
    run = dataclasses.replace(LONG, steps=100_000, checkpoint_every=50_000, validate_every=50_000)
    several = Processes(run, tmp_path / "recipe.py", tmp_path / "run", 2, 1)
    for line in several.each[0].stdout:
        if line.startswith("step 3/"):
            break
    begun = time.monotonic()
    several.each[1].send_signal(signal.SIGTERM)
    ends = several.ended()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert time.monotonic() - begun < 60
    step = int(re.search(r"stopped at step (\d+); the same command continues\n$", ends[0][1]).group(1))
    assert newest(tmp_path / "run")["step"] == step
    assert len(losses(tmp_path / "run")) == step
    out = trained(dataclasses.replace(run, steps=step + 1), tmp_path / "run", 2, 1)
    assert f"continuing from step {step}\n" in out


@contextlib.contextmanager
def slurm(script):
    """The environment that `srun` sets for two tasks on one node."""
    common = {"SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    common |= {"SLURM_JOB_ID": str(free_port())}  # of which JAX makes the coordinator's port
    yield [{**common, "SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(2)]


@contextlib.contextmanager
def tpu_pod(script):
    """Two hosts as Google's metadata server describes them; the server is a fake, and that there are TPUs is a lie."""
    script.write_text(f"""
import os, runpy, sys
from jax._src.clusters import cloud_tpu_cluster
cloud_tpu_cluster.running_in_cloud_tpu_vm = True
del os.environ["TPU_SKIP_MDS_QUERY"]  # set where there are none
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path({str(ROOT / "train.py")!r}, run_name="__main__")
""")
    with contextlib.ExitStack() as stack:
        environments = []
        for number in range(2):

            class Metadata(http.server.BaseHTTPRequestHandler):
                answers: ClassVar = {
                    "agent-worker-number": str(number),
                    "worker-network-endpoints": "a:1:localhost,b:2:localhost",
                    "tpu-env": "ZONE: 'us-west4-a'",
                }

                def do_GET(self):
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(self.answers[self.path.rpartition("/")[2]].encode())

                def log_message(self, *_):
                    pass

            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Metadata))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            environments.append({"GCE_METADATA_IP": f"127.0.0.1:{server.server_port}"})
        yield environments


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [slurm, tpu_pod])
def test_a_cluster_says_which_process_is_which(tmp_path, cluster):
    """No flag does. A signal to all, as before a preemption: one step is saved, and the same command continues."""
    run = dataclasses.replace(LONG, steps=100_000, checkpoint_every=50_000, validate_every=50_000)
    script = tmp_path / "train.py"
    with cluster(script) as environments:
        options = {"script": script if script.exists() else "train.py", "cluster": environments}
        several = Processes(run, tmp_path / "recipe.py", tmp_path / "run", 2, 1, **options)
        for line in several.each[0].stdout:
            if line.startswith("step 3/"):
                break
        for process in several.each:
            process.send_signal(signal.SIGTERM)
        ends = several.ended()
        assert [code for code, _, _ in ends] == [0, 0], ends
        step = newest(tmp_path / "run")["step"]
        assert f"stopped at step {step}; the same command continues\n" in ends[0][1]
        assert "step " not in ends[1][1]  # no run of its own
        run = dataclasses.replace(run, steps=step + 1)
        ends = Processes(run, tmp_path / "recipe.py", tmp_path / "run", 2, 1, **options).ended()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert f"continuing from step {step}\n" in ends[0][1]
    assert len(losses(tmp_path / "run")) == step + 1
    assert "step " not in ends[1][1]


@pytest.mark.slow
def test_processes_that_were_given_different_things(tmp_path):
    """End with the reason."""
    run = dataclasses.replace(LONG, steps=1)
    several = Processes(run, tmp_path / "a.py", tmp_path / "run", 2, 1, ["--config.seed=0", "--config.seed=1"])
    for code, _, error in several.ended():
        assert (code, error.splitlines()[-1].split(": ", 2)[2]) == (
            1,
            "the processes of the run have different config: give all of them the same files and flags",
        )


@pytest.mark.slow
def test_a_process_that_is_lost_ends_the_run(tmp_path):
    run = dataclasses.replace(LONG, steps=100_000, checkpoint_every=50_000, validate_every=50_000)
    several = Processes(run, tmp_path / "recipe.py", tmp_path / "run", 2, 1)
    for line in several.each[0].stdout:
        if line.startswith("step 3/"):
            break
    several.each[1].kill()
    (code, _, error), _ = several.ended()
    assert code != 0
    assert "the same command continues" in error


# Recipes that another one stands for.
LIKE_OTHERS = (
    "amt_g",
    "amt_l",
    "d_amt_s",
    "d_ema_vfi",
    "d_ifrnet",
    "d_rife",
    "dbvi_gopro",
    "dr_rife",
    "ema_vfi_vimeo90k_septuplet",
    "ifrnet_gopro",
    "rife_footage",
    "rife_lap",
    "rife_m_vimeo90k_septuplet",
    "ugsp_uncertainty",
    "vfit_vimeo90k_septuplet",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(path.stem, marks=pytest.mark.long) if path.stem in LIKE_OTHERS else path.stem
        for path in sorted((ROOT / "configs").glob("*.py"))
    ],
)
def test_every_recipe_starts_on_two_processes(tmp_path, recipe):
    """Its smoke variant, for two steps with a validation; before the first the processes compare their states."""
    values = runpy.run_path(str(ROOT / f"configs/{recipe}.py"))["get_config"]("smoke").to_dict()
    run = dataclasses.replace(
        parse(Train, values), steps=2, batch_size=2, checkpoint_every=2, validate_every=2, validation_samples=2
    )
    trained(run, tmp_path / "run", processes=2)
    assert np.isfinite(losses(tmp_path / "run")).tolist() == [True, True]
    assert Checkpoints(tmp_path / "run").steps() == [2]


@pytest.mark.slow
def test_parts_of_a_batch_are_the_whole():
    """Loss, terms and the step of the whole batch, by a step that takes it in parts."""
    spec, model, variables, loss_config = fit.build(RUN, Path())
    transform, mesh = make_optimizer(RUN.optimizer, RUN.steps, 1), sharding.data_mesh()
    rng = np.random.default_rng(0)
    batch = {
        "frames": rng.integers(0, 256, (4, 2, 64, 64, 3), np.uint8),
        "target": rng.integers(0, 256, (4, 64, 64, 3), np.uint8),
        "t": np.full((4, 1, 1, 1), 0.5, np.float32),
    }
    found = []
    for accumulate in (1, 2):
        step = make_step(
            spec,
            model,
            transform,
            mesh,
            loss_config=loss_config,
            extra_losses={"psnr": 1.0, "census": 1.0},
            ema=0.9,
            seed=0,
            precision=PRECISIONS[RUN.precision],
            accumulate=accumulate,
        )
        state, metrics = step(init_state(variables, transform, ema=True), sharding.shard_batch(batch, mesh))
        found.append((jax.tree.map(float, metrics), optax.tree.get(state.optimizer, "mu")))
    (metrics, moments), (wanted, whole) = found[1], found[0]
    assert metrics == pytest.approx(wanted, rel=1e-5)
    assert max(distances(jax.device_get(moments), jax.device_get(whole))) < 1e-5


def test_a_batch_that_does_not_divide(tmp_path):
    run = dataclasses.replace(RUN, batch_size=6, accumulate=4)
    wanted = "batch_size 6 does not divide over 1 devices times --config.accumulate 4: 4 or 8 does"
    with pytest.raises(UsageError, match=wanted):
        fit.fit(run, tmp_path, quiet)


@pytest.mark.parametrize("given", [("host:1", None, None), ("host:1", 2, None), (None, 2, 0), ("host:1", 2, 2)])
def test_flags_of_processes_go_together(given):
    with pytest.raises(UsageError, match="--process"):
        distributed.initialize(*given)


def test_one_process_agrees_with_itself():
    distributed.initialize()
    distributed.initialize(None, 1, None)
    distributed.barrier("here")
    assert distributed.all_agree(True)
    assert not distributed.all_agree(False)
    assert distributed.allgather(np.array([1 / 3])).tolist() == [[1 / 3]]
    assert distributed.local({"a": jax.numpy.ones(2)})["a"].tolist() == [1, 1]
