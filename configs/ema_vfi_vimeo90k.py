"""EMA-VFI on Vimeo90K triplets; the small one with --config.model=ema_vfi_small.

Paper: Guozhen Zhang et al., "Extracting Motion and Appearance via Inter-Frame Attention for Efficient Video Frame
Interpolation", CVPR 2023. Follows the published code: 300 epochs of 1603 steps, batch size 32; no gradient clipping, no
averaged weights, float32. These weights are for t = 0.5; `ema_vfi_vimeo90k_septuplet.py` trains for any time.

    python train.py --config configs/ema_vfi_vimeo90k.py --workdir runs/ema --config.data.path=vimeo_triplet \
        --config.data.validation=vimeo_triplet

Expected: 36.64 dB on Vimeo90K's test list (as quoted, not rounded, with test-time augmentation; `python eval.py --model
ema_vfi --weights runs/ema --benchmarks vimeo90k_float --data .`). 480,900 steps; the published run used four GPUs.

Variants: `smoke` takes a minute or two on synthetic scenes, with a narrow network; `overfit` memorizes eight windows of
128x128, which both data.path and data.validation name, with a narrow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="ema_vfi",
        loss={"merged_weight": 0.5},
        epochs=300,
        batch_size=32,
        seed=1234,
        data={
            "window": {"frames": 3, "inputs": (0, 2), "target": 1},
            "augment": {"crop": 256},
            "workers": 8,
        },
        optimizer={"rate": 2e-4, "final_rate": 2e-5, "warmup": 2000, "weight_decay": 1e-4},
        checkpoint_every=1603,
        validate_every=4809,
        validation_samples=3782,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        smoke=merged(SMOKE, {"fields": {"width": 4, "depths": (2, 2)}, "optimizer": {"warmup": 5}}),
        overfit={
            "epochs": 0, "steps": 200, "batch_size": 8, "log_every": 10, "checkpoint_every": 50,
            "validate_every": 50, "validation_samples": 8, "fields": {"width": 6, "depths": (2, 2)},
            "data": {"workers": 0, "augment": {**NO_AUGMENTATION, "crop": 128}},
            "optimizer": {"rate": 1e-3, "final_rate": 1e-4, "warmup": 20},
        },
    )  # fmt: skip
