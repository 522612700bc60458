"""CAIN on Vimeo90K triplets.

Paper: Myungsub Choi et al., "Channel Attention Is All You Need for Video Frame Interpolation", AAAI 2020. Follows the
published code and its command: 200 epochs of 3207 steps on the whole training list, batch size 16; the learning rate is
halved when the loss on the test list stops falling; no warm-up, no averaged weights, float32. The published validation
loss is computed on float frames, ours on rounded ones.

    python train.py --config configs/cain_vimeo90k.py --workdir runs/cain --config.data.path=vimeo_triplet \
        --config.data.validation=vimeo_triplet

Expected: 34.65 dB on Vimeo90K's test list (IFRNet's table; `python eval.py --model cain --weights runs/cain
--benchmarks vimeo90k --data .`). 641,400 steps; the published run used one GPU.

Variants: `smoke` takes a minute on synthetic scenes, with a shallow network; `overfit` memorizes eight windows of
128x128, which both data.path and data.validation name.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="cain",
        fields={"groups": 5, "blocks": 12},
        epochs=200,
        seed=12345,
        data={
            "window": {"frames": 3, "inputs": (0, 2), "target": 1},
            "augment": {
                **NO_AUGMENTATION, "crop": 256, "jitter": 0.05, "flip_rows": 0.5,
                "flip_columns": 0.5, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={
            "rate": 2e-4, "final_rate": 2e-4, "plateau": {"factor": 0.5, "patience": 5},
            "beta2": 0.99, "weight_decay": 0.0, "clip_norm": 0.1, "skip_above": 10.0,
        },
        checkpoint_every=3207,
        validate_every=3207,
        validation_samples=3782,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        smoke=merged(SMOKE, {"fields": {"groups": 1, "blocks": 2}}),
        overfit={
            "epochs": 0, "steps": 480, "batch_size": 8, "log_every": 20, "checkpoint_every": 120,
            "validate_every": 120, "validation_samples": 8, "fields": {"groups": 1, "blocks": 1},
            "data": {"workers": 0, "augment": {**NO_AUGMENTATION, "crop": 128}},
            "optimizer": {"rate": 2e-3, "final_rate": 1e-4, "warmup": 20, "plateau": {"factor": 1.0}},
        },
    )  # fmt: skip
