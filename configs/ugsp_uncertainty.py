"""UGSP, stage 1: the uncertainty network on Vimeo90K triplets, from which stage 2 (`ugsp.py`) gets its label masks.

Paper: "Uncertainty-Guided Spatial Pruning Architecture for Efficient Frame Interpolation", ACM MM 2023. Of this stage
only the likelihood is published; network, weights and schedule are this project's choice: data, augmentation and
optimizer of stage 2, 150 epochs of 1523 steps, the first 50 with the reconstruction alone.

    python train.py --config configs/ugsp_uncertainty.py --workdir runs/ugsp_uncertainty \
        --config.data.path=vimeo_triplet
    vfi-jax prepare masks vimeo_triplet --weights runs/ugsp_uncertainty

Expected: no figure is published; 228,450 steps.

Variants: `smoke` takes a minute on synthetic scenes, with a narrow network and the likelihood from the first step on;
`overfit` memorizes eight windows of 128x128, which both data.path and data.validation name, with a narrow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary

NARROW = {"widths": (8, 12, 16, 24)}


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="ugsp_uncertainty",
        loss={"uncertainty_weight": 1.0, "uncertainty_from": 50},
        epochs=150,
        batch_size=32,
        seed=1234,
        data={
            "window": {"frames": 3, "inputs": (0, 2), "target": 1},
            "augment": {
                **NO_AUGMENTATION, "crop": 224, "reverse_channels": 0.5, "flip_rows": 0.5, "flip_columns": 0.5,
                "transpose": 0.05, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={"rate": 1e-4, "final_rate": 1e-5, "warmup": 2000, "weight_decay": 1e-3},
        checkpoint_every=1523,
        validate_every=7615,
        validation_samples=160,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        smoke=merged(
            SMOKE, {"fields": NARROW, "loss": {"uncertainty_from": 0}, "optimizer": {"warmup": 5}}
        ),
        overfit={
            "epochs": 0, "steps": 240, "batch_size": 8, "log_every": 10, "checkpoint_every": 60,
            "validate_every": 60, "validation_samples": 8, "fields": NARROW, "loss": {"uncertainty_from": 80},
            "data": {"workers": 0, "augment": {**NO_AUGMENTATION, "crop": 128}},
            "optimizer": {"rate": 1e-3, "final_rate": 1e-4, "warmup": 20, "weight_decay": 0.0, "clip_norm": 0.1},
        },
    )  # fmt: skip
