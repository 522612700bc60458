"""D-EMA-VFI: EMA-VFI's network trained with distance maps, on Vimeo90K septuplets.

Paper: Zhihang Zhong et al., "Clearer Frames, Anytime: Resolving Velocity Ambiguity in Video Frame Interpolation", ECCV
2024. Follows the published code: three distinct frames of the seven in time order, half of them reversed; for the time
the distance map of the three, clipped and blurred on the crop; half of EMA-VFI's learning rate. The published maps are
RAFT's:

    vfi-jax prepare distance vimeo_septuplet --teacher raft

    python train.py --config configs/d_ema_vfi.py --workdir runs/d --config.data.path=vimeo_septuplet

Any other flow method will do (--config.data.distance.maps=dis). Validation gives one distance to all pixels, the time.
The published run trains on the whole training list, as this does with --config.data.validation=SET; it used four GPUs.
300 epochs. For `dr_ema_vfi` the published code neither clips nor blurs: --config.model=dr_ema_vfi
--config.data.distance.reference=True --config.data.distance.clip=False --config.data.distance.blur=0.

Variants: `smoke` takes a minute or two on synthetic scenes, with a narrow network and times instead of maps; `overfit`
memorizes eight windows of 128x128, which both data.path and data.validation name, with a narrow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="d_ema_vfi",
        epochs=300,
        batch_size=32,
        seed=1234,
        data={
            "window": {"frames": 7, "sorted_share": 1.0},
            "distance": {"maps": "raft", "blur": 9, "blur_at": "crop"},
            "augment": {"crop": 256},
            "workers": 8,
        },
        optimizer={"rate": 1e-4, "final_rate": 1e-5, "warmup": 2000, "weight_decay": 1e-4},
        validate_every=5000,
        validation_samples=256,
    )
    narrow = {"width": 4, "depths": (2, 2)}
    return vary(
        recipe,
        variant,
        smoke=merged(SMOKE, {"fields": narrow, "data": {"distance": {"maps": ""}}, "optimizer": {"warmup": 5}}),
        overfit={
            "epochs": 0, "steps": 240, "batch_size": 8, "log_every": 10, "checkpoint_every": 60,
            "validate_every": 60, "validation_samples": 8, "fields": {"width": 6, "depths": (2, 2)},
            "data": {
                "window": {"frames": 3}, "distance": {"maps": "dis", "validate": True}, "workers": 0,
                "augment": {**NO_AUGMENTATION, "crop": 128},
            },
            "optimizer": {"rate": 1e-3, "final_rate": 1e-4, "warmup": 20},
        },
    )  # fmt: skip
