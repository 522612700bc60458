"""The machine: versions, devices, memory, peak FLOP/s, and the cache of compiled programs."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import MutableMapping
from pathlib import Path

import jax

from vfi_jax.system import folders

PACKAGES = ("vfi_jax", "jax", "jaxlib", "libtpu", "flax", "optax", "orbax-checkpoint", "grain", "numpy", "av")
MEMORY_VARIABLES = (  # each of which says how XLA is to take the memory of a GPU
    "XLA_PYTHON_CLIENT_PREALLOCATE", "XLA_PYTHON_CLIENT_MEM_FRACTION", "XLA_CLIENT_MEM_FRACTION",
    "XLA_PYTHON_CLIENT_ALLOCATOR",
)  # fmt: skip
# Part of a device's name and its dense peak in FLOP/s with bfloat16 inputs (V100 and T4: float16), from the vendors'
# data sheets; the first match counts.
PEAKS = (
    ("TPU v4", 275e12),
    ("TPU v5 lite", 197e12),
    ("TPU v5", 459e12),
    ("TPU v6 lite", 918e12),
    ("B200", 2250e12),
    ("H100 PCIe", 756e12),
    ("H100", 989e12),
    ("H200", 989e12),
    ("A100", 312e12),
    ("A10", 125e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("RTX 4090", 165e12),
    ("RTX 3090", 71e12),
    ("V100", 125e12),
    ("T4", 65e12),
)


def peak_of(device: str) -> float | None:
    """Returns the dense peak of a device by its `jax.Device.device_kind`, FLOP/s; None if it is not in `PEAKS`."""
    return next((peak for name, peak in PEAKS if name in device), None)


def peak_memory() -> dict[str, float]:
    """Returns this process's peak memory, 10^9 bytes: `host_gb`, and `device_gb` if devices report it."""
    used = {}
    with contextlib.suppress(ImportError):  # not available on Windows
        used["host_gb"] = _peak_resident() / 1e9
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    if reported := [peak for peak in peaks if peak is not None]:
        used["device_gb"] = max(reported) / 1e9
    return used


def environment() -> dict[str, str]:
    """Returns what a run depends on beside its config, by name: versions, devices, memory, flags."""
    devices = jax.devices()
    kinds = {
        device.device_kind: sum(other.device_kind == device.device_kind for other in devices) for device in devices
    }
    versions = {name: version for name in PACKAGES if (version := version_of(name))}
    return {
        **versions,
        "python": platform.python_version(),
        "system": f"{platform.platform()}, {os.cpu_count()} processors, {_memory() / 1e9:.1f} GB",
        "devices": ", ".join(f"{count} x {kind}" for kind, count in kinds.items()) + f" ({jax.default_backend()})",
        "device memory": _limits(),
        "processes": str(jax.process_count()),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        "compiled programs": str(jax.config.jax_compilation_cache_dir or "not kept"),
    }


def provenance() -> dict[str, str]:
    """Returns the command of this process, and the git commit of this package where it runs from a checkout."""
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    root = Path(__file__).parents[2]
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"command": command} | ({"git commit": commit + (" and changes" if changes else "")} if commit else {})


def _git(root: Path, *arguments: str) -> str:
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def as_text(entries: dict[str, str]) -> str:
    """Formats entries as lines `NAME: VALUE`."""
    return "".join(f"{name}: {value}\n" for name, value in entries.items())


def processor() -> str:
    """Returns the processor's name, as far as the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else ()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def processors() -> int:
    """Returns the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_programs() -> None:
    """Enables JAX's persistent compilation cache, in `vfi_jax/programs/PROCESSORS` under the XDG cache folder.

    The folder depends on the number of processors, because a program for CPUs is divided into as many parts when it is
    compiled, and JAX's cache key leaves that out: a program compiled for one processor would go on using one. A folder
    that is already set stays (`JAX_COMPILATION_CACHE_DIR`); `JAX_ENABLE_COMPILATION_CACHE=false` disables the cache.
    """
    if jax.config.jax_compilation_cache_dir is None and (cache := folders.cache()):
        jax.config.update("jax_compilation_cache_dir", str(cache / "programs" / str(processors())))


def share_memory(environment: MutableMapping[str, str] = os.environ) -> None:
    """Lets XLA take a GPU's memory as it is needed, instead of three quarters of it at the start.

    To be called before JAX uses its devices. A user's own variables stay as they are.
    """
    if not any(name in environment for name in MEMORY_VARIABLES):
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"


def _peak_resident() -> int:
    """Returns the peak resident memory, bytes; `ru_maxrss`, unlike `VmHWM`, includes that of the parent process.

    `compare.workers`, which runs without this package, has a copy.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def version_of(package: str) -> str:
    """Returns the version of an installed package; "" where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _memory() -> float:
    """Returns the memory of the host, bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # Windows
        return float("nan")


def _limits() -> str:
    limits = {(device.memory_stats() or {}).get("bytes_limit") for device in jax.local_devices()}
    return ", ".join(f"{limit / 1e9:.1f} GB" for limit in limits if limit) or "unknown"
