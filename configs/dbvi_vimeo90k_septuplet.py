"""DBVI, twice the frame rate, on Vimeo90K septuplets.

Paper: Zhiyang Yu et al., "Deep Bayesian Video Frame Interpolation", ECCV 2022. Follows the published code: frames 1, 3,
5 and 7 predict frame 4; batch size 32; the learning rate is multiplied by 0.4 at epochs 108 and 133 and is 1 % of it
for the mapping networks; no warm-up, no gradient clipping, no averaged weights, float32. The published code does not
say where training stops; the learning rate does not change after epoch 133.

    python train.py --config configs/dbvi_vimeo90k_septuplet.py --workdir runs/dbvi \
        --config.data.path=vimeo_septuplet --config.frozen.raft=raft-things.pth

Expected: 36.17 dB on Vimeo90K's septuplets (quoted by others for four steps; `python eval.py --model dbvi_2x --weights
runs/dbvi --benchmarks vimeo_septuplet --data .`). The published run used 16 GPUs. --config.fields.remat=True trades
time for memory. Flow labels can replace RAFT's weights: `vfi-jax prepare flow vimeo_septuplet --teacher dis --inputs
0,2,4,6`, then --config.data.labels=dis; augmentation transforms the flows with the frames.

Variants: `smoke` takes some minutes on synthetic scenes, with an untrained flow network; `overfit` memorizes eight
windows of 128x128, which both data.path and data.validation name, with a network of two steps and flow labels of `dis`.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary

SMALL = {"steps": 2, "remat": False, "flow_network": "raft"}


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="dbvi_2x",
        fields={"steps": 6, "remat": False, "flow_network": "raft"},
        loss={"weights": (1.0,) * 6},
        epochs=160,
        batch_size=32,
        seed=1234,
        data={
            "window": {"frames": 7, "inputs": (0, 2, 4, 6), "target": 3},
            "augment": {
                **NO_AUGMENTATION, "crop": 256, "jitter": 0.05, "flip_rows": 0.5,
                "flip_columns": 0.5, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={
            "rate": 5e-4, "final_rate": 5e-4, "milestones": {"epochs": (108, 133), "factor": 0.4},
            "rate_factors": {"mapping": 0.01}, "weight_decay": 0.0,
        },
        checkpoint_every=2000,
        validate_every=10000,
        validation_samples=256,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        smoke=merged(SMOKE, {"batch_size": 2, "frozen": {"raft": "untrained"}, "fields": SMALL}),
        overfit={
            "epochs": 0, "steps": 400, "batch_size": 4, "log_every": 20, "checkpoint_every": 100,
            "validate_every": 100, "validation_samples": 8, "fields": SMALL,
            "data": {"workers": 0, "labels": "dis", "augment": {**NO_AUGMENTATION, "crop": 128}},
            "optimizer": {"rate": 1e-3, "final_rate": 1e-4, "warmup": 10, "milestones": {"epochs": (), "factor": 1.0}},
        },
    )  # fmt: skip
