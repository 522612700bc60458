"""Networks trained with and without the texture consistency loss: `python results/texture.py WORK DATA`.

WORK keeps everything between calls: a call that was killed is continued by the same command. DATA holds `train`, videos
from which windows of three frames are cut for training, and `devset`, triplets of other clips that are scored; scored
are also the generated `patterns`, in which appearance misleads. `RUNS` of one network differ in their losses alone.

Writes `texture.csv` and docs/images/texture.png; `python results/tables.py` then writes the tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import experiment
import numpy as np

from vfi_jax import benchmarks
from vfi_jax.config import Footage
from vfi_jax.evaluation import evaluate, tables
from vfi_jax.prepare.pack import pack_footage
from vfi_jax.system.files import written_whole
from vfi_jax.viz.sheets import save_png, sheet

ROOT = Path(__file__).parent.parent
TABLE, PICTURE = ROOT / "results/texture.csv", ROOT / "docs/images/texture.png"
FOOTAGE = Footage(frames=3, step=2, short_side=256)
SIDE, MEGABYTES = 160, 150  # of the windows, pixels; of all of them
CROP, STEPS, SEED = 96, 600, 0
SHOWN = {"devset": ("00006/0001", "00015/0001"), "patterns": ("stripes_0.5_0", "mesh_0.75_0")}


@dataclasses.dataclass(frozen=True)
class Run:
    """A training.

    Attributes:
      label: of its rows.
      model: name in MODELS.
      fields: of the module; networks are narrow.
      rate: learning rate.
      losses: weights of losses beside the model's own.
    """

    label: str
    model: str
    fields: Mapping[str, Any]
    rate: float
    losses: Mapping[str, float]


CAIN = ("cain", {"groups": 2, "blocks": 3}, 5e-4)  # its own loss is L1
IFRNET = ("ifrnet_s", {"widths": (12, 18, 28, 36)}, 1e-3)  # Charbonnier, census and geometry
RUNS = {
    "cain_l1": Run("CAIN: L1", *CAIN, {}),
    "cain_census": Run("CAIN: L1, census", *CAIN, {"census": 1.0}),
    "cain_texture": Run("CAIN: L1, texture", *CAIN, {"texture": 1.0}),
    "cain_both": Run("CAIN: L1, census, texture", *CAIN, {"census": 1.0, "texture": 1.0}),
    "ifrnet_own": Run("IFRNet-S: its own", *IFRNET, {}),
    "ifrnet_texture": Run("IFRNet-S: its own, texture", *IFRNET, {"texture": 1.0}),
}


def prepared(work: Path, data: Path) -> Path:
    """Writes the training windows once; returns their file."""
    path = work / "windows.safetensors"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        pack_footage(data / "train", path, FOOTAGE, size=SIDE, megabytes=MEGABYTES)
    return path


def trained(work: Path, name: str, windows: Path) -> evaluate.EvaluatedModel:
    """Trains a run, or what is left of it; returns its model."""
    run, folder = RUNS[name], work / name
    window = {"frames": 3, "inputs": (0, 2), "target": 1}
    values = experiment.recipe(
        steps=STEPS, rate=run.rate, crop=CROP, data={"path": str(windows), "window": window}, seed=SEED,
        model=run.model, fields=run.fields, extra_losses=run.losses,
    )  # fmt: skip
    experiment.train(values, folder)
    model = evaluate.load_model(f"{run.model}={folder}", step="newest")
    return dataclasses.replace(model, label=run.label)


def drawn(models: Mapping[str, evaluate.EvaluatedModel], data: Path) -> np.ndarray:
    """Some of the scored images by every model, beside the truth."""
    rows = []
    for name, chosen in SHOWN.items():
        benchmark = benchmarks.named(f"triplets={data / name}" if name == "devset" else name)
        for sample in benchmark.find(data):
            if sample.name not in chosen:
                continue
            inputs, truth = benchmarks.pictures(benchmark, sample, 2)
            row = [(truth, f"{name}: true")]
            for model in models.values():
                interpolate = evaluate.interpolator(model, benchmark, [sample])
                row.append((benchmarks.predict(interpolate, benchmark, inputs[None], [sample.t])[0], model.label))
            rows.append([(detail(image), label) for image, label in row])
    return sheet(rows)


def detail(image: np.ndarray) -> np.ndarray:
    """The middle of an image, enlarged."""
    height, width = image.shape[:2]
    middle = image[height // 2 - 56 : height // 2 + 56, width // 2 - 56 : width // 2 + 56]
    return middle.repeat(2, 0).repeat(2, 1)


def main() -> None:
    """Prepares, trains, scores and draws."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    windows = prepared(options.work, options.data)
    models = {"mean": evaluate.load_model("average")}
    sets = [benchmarks.named(name) for name in (f"triplets={options.data / 'devset'}", "patterns")]
    wanted = [(benchmark, benchmark.find(options.data)) for benchmark in sets]
    for name in RUNS:
        models[name] = trained(options.work, name, windows)
        print(name, [round(result.entry["psnr"], 2) for result in evaluate.evaluate(
            {options.work / "scores" / name: models[name]}, wanted, evaluate.Plan())])  # fmt: skip
    folders = {options.work / "scores" / name: model for name, model in models.items()}
    found = list(evaluate.evaluate(folders, wanted, evaluate.Plan()))
    command = "results/texture.py WORK DATA"
    tables.write(options.work, found, {}, {**evaluate.provenance(models["mean"]), "command": command})
    with written_whole(TABLE) as partial:
        shutil.copyfile(options.work / "table.csv", partial)
    save_png(PICTURE, drawn(models, options.data))


if __name__ == "__main__":
    main()
