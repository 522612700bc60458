"""DR-RIFE: RIFE-m's network trained with distance maps and a reference frame, on Vimeo90K septuplets.

Paper: Zhihang Zhong et al., "Clearer Frames, Anytime: Resolving Velocity Ambiguity in Video Frame Interpolation", ECCV
2024. Follows the published code: three distinct frames of the seven in time order, half of them reversed, and a
reference frame drawn from the first to the last of them, which may be the target; the distance maps of target and
reference, clipped and blurred on the crop. The published maps are RAFT's:

    vfi-jax prepare distance vimeo_septuplet --teacher raft

    python train.py --config configs/dr_rife.py --workdir runs/dr --config.data.path=vimeo_septuplet

Any other flow method will do (--config.data.distance.maps=dis); without maps (--config.data.distance.maps=) the network
learns from times. Validation reaches the target in two steps, see `iterate_reference`. 300 epochs; the published run
used four GPUs.

Variants: `smoke` takes a minute on synthetic scenes, with times instead of maps; `overfit` memorizes eight windows of
128x128, which both data.path and data.validation name, with a narrow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="dr_rife",
        loss={"distillation_weight": 0.002},
        epochs=300,
        batch_size=64,
        seed=1234,
        data={
            "window": {"frames": 7, "sorted_share": 1.0},
            "distance": {"maps": "raft", "blur": 9, "blur_at": "crop", "reference": True},
            "workers": 8,
        },
        optimizer={"rate": 3e-4, "final_rate": 3e-6, "warmup": 2000, "weight_decay": 1e-3},
        validate_every=5000,
        validation_samples=256,
    )
    return vary(
        recipe,
        variant,
        smoke=merged(SMOKE, {"data": {"distance": {"maps": ""}}, "optimizer": {"warmup": 5}}),
        overfit={
            "epochs": 0, "steps": 200, "batch_size": 8, "log_every": 10, "checkpoint_every": 50,
            "validate_every": 50, "validation_samples": 8,
            "fields": {"widths": (48, 40, 32), "refinement_width": 6},
            "data": {
                "window": {"frames": 3}, "distance": {"maps": "dis", "validate": True}, "workers": 0,
                "augment": {**NO_AUGMENTATION, "crop": 128},
            },
            "optimizer": {"rate": 1e-3, "final_rate": 1e-4, "warmup": 10},
        },
    )  # fmt: skip
