"""IFRNet at any time on GoPro's 240 Hz clips, eight times the frame rate; S and L with --config.model.

Paper: Lingtong Kong et al., "IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation", CVPR 2022.
Follows the published code: windows of nine frames, one every eight, whose first and last frames are the inputs; no flow
labels. There, a step learns all seven targets of 2 windows on each of 4 GPUs. Here, a sample is one of the seven, drawn
at random, so that a batch of 56 has as many samples, and 4200 epochs have as many steps as 600 there.

    python train.py --config configs/ifrnet_gopro.py --workdir runs/gopro --config.data.path=GOPRO/train \
        --config.data.validation=GOPRO/test

Expected: 29.84 dB on GoPro's test clips, eight times the frame rate (published). Validation uses the middle targets,
whole frames. The published run used four GPUs. At 720p most of the time goes into reading images, so make records first
(`vfi-jax prepare records GOPRO/train -o DIR --frames 9 --step 8`).

Variants: `smoke` takes a minute or two on synthetic scenes.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="ifrnet",
        loss={"geometry_weight": 0.01},
        epochs=4200,
        batch_size=56,
        seed=1234,
        data={
            "window": {"frames": 9, "inputs": (0, 8)},
            "augment": {
                **NO_AUGMENTATION, "crop": 224, "enlarge": 0.1, "reverse_channels": 0.5, "flip_rows": 0.3,
                "flip_columns": 0.5, "transpose": 0.05, "reverse_time": 0.5,
            },
            "footage": {"step": 8},
            "workers": 8,
        },
        optimizer={"rate": 1e-4, "final_rate": 1e-5, "weight_decay": 0.0},
        validate_every=5000,
        validation_samples=256,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        smoke=SMOKE,
    )  # fmt: skip
