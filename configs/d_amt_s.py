"""D-AMT-S: AMT-S's network trained with distance maps, on Vimeo90K septuplets.

Paper: Zhihang Zhong et al., "Clearer Frames, Anytime: Resolving Velocity Ambiguity in Video Frame Interpolation", ECCV
2024. Follows the published recipe: three distinct frames of the seven in time order, half of them reversed; for the
time the distance map of the three, clipped and blurred on the whole frame; no flow labels. The published maps are by
RAFT:

    vfi-jax prepare distance vimeo_septuplet --teacher raft

    python train.py --config configs/d_amt_s.py --workdir runs/d --config.data.path=vimeo_septuplet

Any other flow method will do (--config.data.distance.maps=dis). Validation gives one distance to all pixels, the time.
400 epochs. `--config.model=dr_amt_s --config.data.distance.reference=True` adds the reference frame.

Variants: `smoke` takes a minute or two on synthetic scenes, with times instead of maps; `overfit` memorizes eight
windows of 128x128, which both data.path and data.validation name, with a narrow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="d_amt_s",
        epochs=400,
        batch_size=24,
        seed=2023,
        data={
            "window": {"frames": 7, "sorted_share": 1.0},
            "distance": {"maps": "raft", "blur": 9, "blur_at": "frame"},
            "augment": {
                **NO_AUGMENTATION, "crop": 224, "enlarge": 0.1, "reverse_channels": 0.5, "flip_rows": 0.3,
                "flip_columns": 0.5, "transpose": 0.05, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={"rate": 2e-4, "final_rate": 2e-5, "weight_decay": 0.0},
        validate_every=5000,
        validation_samples=256,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        smoke=merged(SMOKE, {"data": {"distance": {"maps": ""}}}),
        overfit={
            "epochs": 0, "steps": 160, "batch_size": 8, "log_every": 10, "checkpoint_every": 40,
            "validate_every": 40, "validation_samples": 8,
            "fields": {
                "widths": (12, 16, 20, 24), "encoder_widths": (8, 16, 24), "encoder_features": 24,
                "update_widths": ((16,), 8, 16, 24),
            },
            "data": {
                "window": {"frames": 3}, "distance": {"maps": "dis", "validate": True}, "workers": 0,
                "augment": {**NO_AUGMENTATION, "crop": 128},
            },
            "optimizer": {"rate": 1e-3, "final_rate": 1e-4, "clip_norm": 0.1},
        },
    )  # fmt: skip
