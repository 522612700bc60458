"""VFIT-S on Vimeo90K septuplets; --config.model=vfit_b trains VFIT-B, by the same recipe.

Paper: Zhihao Shi et al., "Video Frame Interpolation Transformer", CVPR 2022. Follows the published recipe: frames 1, 3,
5 and 7 predict frame 4; batch size 4; Adamax; the learning rate is halved after epochs 40, 60 and 75, then falls to a
fifth after 85 and again after 95; no warm-up, no gradient clipping, no averaged weights, float32. The published loader
ties crops and flips of a sample's frames in a way that newer versions of torchvision undo; here they are the same for
all frames.

    python train.py --config configs/vfit_vimeo90k_septuplet.py --workdir runs/vfit --config.data.path=vimeo_septuplet

Expected: 36.48 dB on Vimeo90K's septuplets (VFIT-B: 36.96; both quoted by others, the first unchecked; `python eval.py
--model vfit_s --weights runs/vfit --benchmarks vimeo_septuplet_float --data .`). 1.6 million steps; the published
validation has every 38th clip of the test list (the benchmark `vimeo_septuplet_short_float`).

Variants: `smoke` takes some minutes on synthetic scenes, with a narrow network; `overfit` memorizes eight windows of
128x128, which both data.path and data.validation name, with a narrow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="vfit_s",
        epochs=100,
        batch_size=4,
        seed=103,
        data={
            "window": {"frames": 7, "inputs": (0, 2, 4, 6), "target": 3},
            "augment": {
                **NO_AUGMENTATION, "crop": 256, "flip_rows": 0.5, "flip_columns": 0.5, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={
            "method": "adamax", "rate": 2e-4, "final_rate": 2e-4, "weight_decay": 0.0,
            "milestones": {"epochs": (40, 60, 75, 85, 95), "factors": (0.5, 0.5, 0.5, 0.2, 0.2)},
        },
        checkpoint_every=16153,
        validate_every=16153,
        validation_samples=206,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        smoke=merged(SMOKE, {"fields": {"widths": (4, 8, 8, 16, 16), "blocks": (1, 1, 1, 1), "features": 8}}),
        overfit={
            "epochs": 0, "steps": 240, "batch_size": 4, "log_every": 20, "checkpoint_every": 60,
            "validate_every": 60, "validation_samples": 8,
            "fields": {"widths": (8, 16, 16, 32, 32), "blocks": (2, 2, 2, 2), "features": 16},
            "data": {"workers": 0, "augment": {**NO_AUGMENTATION, "crop": 128}},
            "optimizer": {
                "rate": 2e-3, "final_rate": 2e-4, "warmup": 10, "milestones": {"epochs": (), "factors": ()},
            },
        },
    )  # fmt: skip
