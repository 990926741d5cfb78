"""Where the entries of this package are: an entry is one line here."""

BUILT_IN: dict[str, dict[str, str]] = {
    "task": {
        "classification": "harness.tasks.classification:classification",
        "density": "harness.tasks.density:density",
        "regression": "harness.tasks.regression:regression",
    },
    "architecture": {
        "additive": "harness.architectures.additive:additive",
        "affine": "harness.architectures.affine:affine",
        "ffjord": "harness.architectures.ffjord:ffjord",
        "ffjord_adaptive": "harness.architectures.ffjord_adaptive:ffjord_adaptive",
        "bilipnet": "harness.architectures.bilipnet:bilipnet",
        "bit_exact": "harness.architectures.bit_exact:bit_exact",
        "flow_plus_plus": "harness.architectures.flow_plus_plus:flow_plus_plus",
        "free_form": "harness.architectures.free_form:free_form",
        "glow": "harness.architectures.glow:glow",
        "iaf": "harness.architectures.iaf:iaf",
        "maf": "harness.architectures.maf:maf",
        "momentum_residual": "harness.architectures.momentum_residual:momentum_residual",
        "neural_spline_flow": "harness.architectures.neural_spline_flow:neural_spline_flow",
        "residual": "harness.architectures.residual:residual",
        "reversible_ode": "harness.architectures.reversible_ode:reversible_ode",
        "tarflow": "harness.architectures.tarflow:tarflow",
        "i_densenet": "harness.architectures.i_densenet:i_densenet",
        "residual_flow": "harness.architectures.residual_flow:residual_flow",
        "residual_image": "harness.architectures.residual_image:residual_image",
        "revnet": "harness.architectures.revnet:revnet",
        "reversible_transformer": (
            "harness.architectures.reversible_transformer:reversible_transformer"
        ),
    },
    "regularizer": {
        "none": "harness.regularizers.none:none",
        "finite_difference": "harness.regularizers.finite_difference:finite_difference",
        "log_scale": "harness.regularizers.log_scale:log_scale",
        "normalizing_flow": "harness.regularizers.normalizing_flow:normalizing_flow",
        "reconstruction": "harness.regularizers.reconstruction:reconstruction",
    },
    "dataset": {
        "checkerboard": "harness.datasets.checkerboard:checkerboard",
        "digits": "harness.datasets.digits:digits",
        "eight_gaussians": "harness.datasets.eight_gaussians:eight_gaussians",
        "rings": "harness.datasets.rings:rings",
        "toy_regression": "harness.datasets.toy_regression:toy_regression",
        "two_moons": "harness.datasets.two_moons:two_moons",
    },
    "probe": {
        "attack": "harness.probes.attack:attack",
        "bi_lipschitz": "harness.probes.bi_lipschitz:bi_lipschitz",
        "certificates": "harness.probes.certificates:certificates",
        "gradient_fidelity": "harness.probes.gradient_fidelity:gradient_fidelity",
        "layer_profile": "harness.probes.layer_profile:layer_profile",
        "log_det": "harness.probes.log_det:log_det",
        "normalization": "harness.probes.normalization:normalization",
        "reconstruction": "harness.probes.reconstruction:reconstruction",
        "sampling": "harness.probes.sampling:sampling",
        "worst_point": "harness.probes.worst_point:worst_point",
    },
    "scale_map": {
        "arctan_clamp": "harness.bijections.scale_maps.exponentials:arctan_clamp",
        "bounded_exp": "harness.bijections.scale_maps.exponentials:bounded_exp",
        "bounded_sigmoid": "harness.bijections.scale_maps.sigmoids:bounded_sigmoid",
        "centred_sigmoid": "harness.bijections.scale_maps.sigmoids:centred_sigmoid",
        "exp": "harness.bijections.scale_maps.exponentials:exp",
        "sigmoid": "harness.bijections.scale_maps.sigmoids:sigmoid",
        "soft_clip": "harness.bijections.scale_maps.exponentials:soft_clip",
        "softplus": "harness.bijections.scale_maps.softplus:softplus",
    },
    "transformer": {
        "additive": "harness.bijections.transformers.elementwise:additive",
        "affine": "harness.bijections.transformers.elementwise:affine",
        "mixture_of_logistics": (
            "harness.bijections.transformers.mixture_transformer:mixture_of_logistics"
        ),
        "rational_quadratic_spline": (
            "harness.bijections.transformers.spline_transformer:rational_quadratic_spline"
        ),
        "volume_preserving": "harness.bijections.transformers.volume_preserving:volume_preserving",
    },
    "mixing": {
        "cayley": "harness.bijections.linear.mixing:cayley",
        "householder": "harness.bijections.linear.mixing:householder",
        "lu": "harness.bijections.linear.mixing:lu",
        "matrix_exponential": "harness.bijections.linear.mixing:matrix_exponential",
        "none": "harness.bijections.linear.mixing:none",
        "permutation": "harness.bijections.linear.mixing:permutation",
        "plain": "harness.bijections.linear.mixing:plain",
        "qr": "harness.bijections.linear.mixing:qr",
        "reverse": "harness.bijections.linear.mixing:reverse",
        "svd": "harness.bijections.linear.mixing:svd",
    },
}
AXES = tuple(BUILT_IN)
