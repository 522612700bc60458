"""CSPA on Vimeo90K triplets.

Paper: Kun Zhou et al., "Exploring Motion Ambiguity and Alignment for High-Quality Video Frame Interpolation", CVPR
2023. Only its texture consistency loss was published. The network's widths and depths, the weight of that loss and this
whole schedule are choices of this project (see `vfi_jax/models/cspa.py`): L1 plus the texture consistency loss, Adam,
batch size 32 in eight parts, averaged weights, bfloat16 with float32 offsets.

    python train.py --config configs/cspa_vimeo90k.py --workdir runs/cspa --config.data.path=vimeo_triplet \
        --config.data.validation=vimeo_triplet

To reach: 36.76 dB on Vimeo90K's test list (the authors' slides, protocol not stated; `python eval.py --model cspa
--weights runs/cspa --benchmarks vimeo90k --data .`). No run of 600,000 steps has been done here.

Variants: `l1` matches colors and takes the L1 penalty, as the paper; `plain` leaves the texture term out; `smoke` takes
a minute or two on synthetic scenes, with a narrow network; `overfit` memorizes eight windows of 128x128, which both
data.path and data.validation name, with the same narrow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary

NARROW = {"width": 16, "groups": 2, "extraction_blocks": 1, "alignment_blocks": 1, "reconstruction_blocks": 2}


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="cspa",
        loss={"texture_weight": 1.0, "texture_penalty": "half_square", "texture_descriptor": "census"},
        steps=600_000,
        batch_size=32,
        accumulate=8,
        precision="bfloat16",
        ema=0.999,
        data={
            "window": {"frames": 3, "inputs": (0, 2), "target": 1},
            "augment": {
                **NO_AUGMENTATION, "crop": 256, "reverse_channels": 0.5, "flip_rows": 0.5, "flip_columns": 0.5,
                "transpose": 0.5, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={
            "rate": 2e-4, "final_rate": 1e-6, "warmup": 2000, "beta2": 0.99, "weight_decay": 0.0, "clip_norm": 1.0,
        },
        checkpoint_every=5000,
        validate_every=5000,
        validation_samples=3782,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        l1={"loss": {"texture_weight": 0.1, "texture_penalty": "l1", "texture_descriptor": "rgb"}},
        plain={"loss": {"texture_weight": 0.0}},
        smoke=merged(SMOKE, {"accumulate": 1, "precision": "float32", "fields": NARROW, "optimizer": {"warmup": 5}}),
        overfit={
            "steps": 600, "batch_size": 8, "accumulate": 1, "precision": "float32", "ema": 0.0, "log_every": 10,
            "checkpoint_every": 100, "validate_every": 100, "validation_samples": 8, "fields": NARROW,
            "data": {"workers": 0, "augment": {**NO_AUGMENTATION, "crop": 128}},
            "optimizer": {"rate": 2e-3, "final_rate": 1e-4, "warmup": 20},
        },
    )  # fmt: skip
