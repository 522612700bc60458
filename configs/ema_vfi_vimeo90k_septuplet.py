"""EMA-VFI at any time, on Vimeo90K septuplets; the small one with --config.model=ema_vfi_small_t.

Paper: Guozhen Zhang et al., "Extracting Motion and Appearance via Inter-Frame Attention for Efficient Video Frame
Interpolation", CVPR 2023. It names the set and publishes such weights, but not how they were trained. Chosen here:
three distinct frames of the seven in time order, t from their places, the order reversed in half of the samples, as
RIFE-m and InterpAny-Clearer train; all else as published for triplets (`ema_vfi_vimeo90k.py`).

    python train.py --config configs/ema_vfi_vimeo90k_septuplet.py --workdir runs/ema --config.data.path=vimeo_septuplet

Expected: 31.46 dB on X-TEST at 4096x2160 (as quoted, for the published weights, with test-time augmentation). 300
epochs of 2019 steps.

Variants: `clearer` has half the learning rate, which InterpAny-Clearer's code gives its EMA-VFI; `smoke` takes a minute
or two on synthetic scenes, with a narrow network.
"""

from ml_collections import ConfigDict

from vfi_jax.config import SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="ema_vfi_t",
        loss={"merged_weight": 0.5},
        epochs=300,
        batch_size=32,
        seed=1234,
        data={"window": {"frames": 7, "sorted_share": 1.0}, "augment": {"crop": 256}, "workers": 8},
        optimizer={"rate": 2e-4, "final_rate": 2e-5, "warmup": 2000, "weight_decay": 1e-4},
        validate_every=5000,
        validation_samples=256,
    )  # fmt: skip
    return vary(
        recipe,
        variant,
        clearer={"optimizer": {"rate": 1e-4, "final_rate": 1e-5}},
        smoke=merged(SMOKE, {"fields": {"width": 4, "depths": (2, 2)}, "optimizer": {"warmup": 5}}),
    )  # fmt: skip
