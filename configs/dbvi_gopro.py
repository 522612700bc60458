"""DBVI, eight times the frame rate, on GoPro.

Paper: Zhiyang Yu et al., "Deep Bayesian Video Frame Interpolation", ECCV 2022. Follows the published code: windows of
25 frames, whose frames 0, 8, 16 and 24 predict one of the seven between the inner two; batch size 16; the learning rate
is multiplied by 0.4 at epochs 78, 118 and 158 and is 1 % of it for the mapping networks; no warm-up, no gradient
clipping, no averaged weights, float32. The published code does not say where training stops; the learning rate does not
change after epoch 158.

    python train.py --config configs/dbvi_gopro.py --workdir runs/dbvi_8x --config.data.path=GoPro/train \
        --config.data.validation=GoPro/test --config.frozen.raft=raft-things.pth

Expected: we know of no published figure. The published run used 16 GPUs. --config.fields.remat=True trades time for
memory. Flow labels can replace RAFT's weights: `vfi-jax prepare flow GoPro/train --teacher dis --frames 25 --inputs
0,8,16,24`, then --config.data.labels=dis.

Variants: `x4k` is for X4K1000FPS (X-TRAIN: 49 of 65 frames, every second one as a target; windows start at 0, 4, 8, 12,
16, published 0, 3, 8, 11, 16); `smoke` takes some minutes on synthetic scenes, with an untrained flow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="dbvi_8x",
        fields={"steps": 4, "remat": False, "flow_network": "raft"},
        loss={"weights": (0.2, 0.4, 1.0, 1.0)},
        epochs=180,
        seed=1234,
        data={
            "window": {"frames": 25, "inputs": (0, 8, 16, 24)},
            "footage": {"step": 1},
            "augment": {
                **NO_AUGMENTATION, "crop": 512, "jitter": 0.05, "flip_rows": 0.5,
                "flip_columns": 0.5, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={
            "rate": 5e-4, "final_rate": 5e-4, "milestones": {"epochs": (78, 118, 158), "factor": 0.4},
            "rate_factors": {"mapping": 0.01}, "weight_decay": 0.0,
        },
        checkpoint_every=2000,
        validate_every=10000,
        validation_samples=256,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        x4k={"data": {
            "window": {"frames": 49, "inputs": (0, 16, 32, 48), "target_step": 2}, "footage": {"step": 4}
        }},
        smoke=merged(
            SMOKE,
            {"batch_size": 2, "frozen": {"raft": "untrained"}},
            {"fields": {"steps": 1, "remat": False, "flow_network": "raft"}},
        ),
    )  # fmt: skip
