"""D-IFRNet: IFRNet's network trained with distance maps, on Vimeo90K septuplets.

Paper: Zhihang Zhong et al., "Clearer Frames, Anytime: Resolving Velocity Ambiguity in Video Frame Interpolation", ECCV
2024. Follows the published recipe: three distinct frames of the seven in time order, half of them reversed; for the
time the distance map of the three, clipped and blurred on the whole frame; neither flow labels nor the geometry loss.
The published maps are RAFT's:

    vfi-jax prepare distance vimeo_septuplet --teacher raft

    python train.py --config configs/d_ifrnet.py --workdir runs/d --config.data.path=vimeo_septuplet

Any other flow method will do (--config.data.distance.maps=dis). Validation gives one distance to all pixels, the time.
300 epochs. `--config.model=dr_ifrnet --config.data.distance.reference=True` adds the reference frame.

Variants: `smoke` takes a minute or two on synthetic scenes, with times instead of maps; `overfit` memorizes eight
windows of 128x128, which both data.path and data.validation name, with a narrow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="d_ifrnet",
        loss={"geometry_weight": 0.0},
        epochs=300,
        batch_size=24,
        seed=1234,
        data={
            "window": {"frames": 7, "sorted_share": 1.0},
            "distance": {"maps": "raft", "blur": 9, "blur_at": "frame"},
            "augment": {
                **NO_AUGMENTATION, "crop": 224, "enlarge": 0.1, "reverse_channels": 0.5, "flip_rows": 0.3,
                "flip_columns": 0.5, "transpose": 0.05, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={"rate": 1e-4, "final_rate": 1e-5, "weight_decay": 1e-6},
        validate_every=5000,
        validation_samples=256,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        smoke=merged(SMOKE, {"data": {"distance": {"maps": ""}}}),
        overfit={
            "epochs": 0, "steps": 240, "batch_size": 8, "log_every": 10, "checkpoint_every": 60,
            "validate_every": 60, "validation_samples": 8, "fields": {"widths": (12, 16, 20, 24)},
            "data": {
                "window": {"frames": 3}, "distance": {"maps": "dis", "validate": True}, "workers": 0,
                "augment": {**NO_AUGMENTATION, "crop": 128},
            },
            "optimizer": {"rate": 1e-3, "final_rate": 1e-4, "clip_norm": 0.1},
        },
    )  # fmt: skip
