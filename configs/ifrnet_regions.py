"""Region priors in IFRNet: published weights, trained further with label maps of the inputs' regions.

A design of this project, in the spirit of Chunming Han et al., "Video Frame Interpolation with Region-Distinguishable
Priors from SAM", arXiv 2312.15868, whose code is not published; see docs/regions.md. The maps:

    vfi-jax prepare regions vimeo_triplet                       (superpixels; --labels DIR takes those of any segmenter)

    python train.py --config configs/ifrnet_regions.py --workdir runs/regions --config.data.path=vimeo_triplet

The new layers start at zero, so that the first frames are those of the weights; they learn ten times as fast as others.
A fifth of the samples have no maps and a tenth has one map, so that the network works without them. Noise in the maps:
--config.data.regions.noise=0.3. Other hosts: --config.model=rife --config.init_from.model=rife, or any of rife_v4_*.
What maps bring is the difference from the same run without: --config.data.regions.maps=False.

Variants: `smoke` takes a minute or two on synthetic scenes, whose maps are exact, with fresh weights.
"""

from ml_collections import ConfigDict

from vfi_jax.config import NO_AUGMENTATION, SMOKE, defaults, merged, vary


def get_config(variant: str = "default") -> ConfigDict:
    """Returns the recipe, or one of its variants."""
    recipe = defaults(
        model="ifrnet",
        fields={"region_channels": 8},
        init_from={"model": "ifrnet"},
        steps=20_000,
        batch_size=24,
        seed=1234,
        data={
            "window": {"frames": 3, "inputs": (0, 2), "target": 1},
            "regions": {"maps": True, "drop": 0.2, "drop_one": 0.1},
            "augment": {
                **NO_AUGMENTATION, "crop": 224, "reverse_channels": 0.5, "flip_rows": 0.5, "flip_columns": 0.5,
                "transpose": 0.5, "reverse_time": 0.5,
            },
            "workers": 8,
        },
        optimizer={
            "rate": 1e-4, "final_rate": 1e-5, "weight_decay": 1e-4, "rate_factors": {"region_": 1.0, "/": 0.1},
        },
    )  # fmt: skip
    return vary(recipe, variant, smoke=merged(SMOKE, {"init_from": {"model": ""}}))
