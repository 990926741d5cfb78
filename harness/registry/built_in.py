"""Where the entries of this package are: an entry is one line here."""

BUILT_IN: dict[str, dict[str, str]] = {
    "task": {
        "density": "harness.tasks.density:density",
    },
    "architecture": {
        "additive": "harness.architectures.additive:additive",
        "affine": "harness.architectures.affine:affine",
        "glow": "harness.architectures.glow:glow",
        "i_densenet": "harness.architectures.i_densenet:i_densenet",
        "residual": "harness.architectures.residual:residual",
        "residual_flow": "harness.architectures.residual_flow:residual_flow",
        "residual_image": "harness.architectures.residual_image:residual_image",
    },
    "regularizer": {
        "none": "harness.regularizers.none:none",
        "finite_difference": "harness.regularizers.finite_difference:finite_difference",
        "log_scale": "harness.regularizers.log_scale:log_scale",
        "normalizing_flow": "harness.regularizers.normalizing_flow:normalizing_flow",
    },
    "dataset": {
        "checkerboard": "harness.datasets.checkerboard:checkerboard",
        "digits": "harness.datasets.digits:digits",
        "eight_gaussians": "harness.datasets.eight_gaussians:eight_gaussians",
    },
    "probe": {
        "bi_lipschitz": "harness.probes.bi_lipschitz:bi_lipschitz",
        "log_det": "harness.probes.log_det:log_det",
        "reconstruction": "harness.probes.reconstruction:reconstruction",
        "sampling": "harness.probes.sampling:sampling",
    },
    "scale_map": {
        "bounded_exp": "harness.bijections.scale_maps:bounded_exp",
        "bounded_sigmoid": "harness.bijections.scale_maps:bounded_sigmoid",
        "exp": "harness.bijections.scale_maps:exp",
        "sigmoid": "harness.bijections.scale_maps:sigmoid",
    },
    "transformer": {
        "additive": "harness.bijections.transformers:additive",
        "affine": "harness.bijections.transformers:affine",
    },
}
AXES = tuple(BUILT_IN)
