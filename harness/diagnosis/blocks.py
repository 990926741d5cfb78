"""What kind of block a name is of, and what the field knows to do about it."""

KINDS: dict[str, tuple[str, ...]] = {
    "spline": ("spline", "rqs", "rational", "piecewise", "bernstein"),
    "orthogonal": ("orthogonal", "householder", "rotation"),
    "ode": ("ode", "freeform", "cnf", "ffjord"),
    "residual": ("residual", "iresnet", "contractive"),
    "additive": ("additive", "nice"),
    "affine": ("affine", "coupling", "glow", "rnvp", "realnvp", "allinone", "gin", "autoregress"),
    "normalisation": ("norm",),
    "linear": ("linear", "conv", "lu", "permut", "mixing"),
}
"""Kind → parts of names, in lower case; the first that fits is it."""

CURES: dict[str, str] = {
    "spline": (
        "raise the floors of the spline's slopes and bins (`neural_spline_flow` bounds both), and "
        "keep inputs within its box"
    ),
    "orthogonal": (
        "parametrize the matrix so that it stays orthogonal (mixing `householder`, `cayley` or "
        "`matrix_exponential`), or invert it and count its determinant (`lu`)"
    ),
    "ode": "tighten the solver's tolerance, or take a solver that comes back (`reversible_ode`)",
    "residual": (
        "lower the coefficient: the inverse stretches by at most 1 / (1 - c) a block, and its "
        "iteration converges as fast"
    ),
    "additive": "bound the conditioner: 1 + Lip(t) bounds an additive coupling both ways",
    "affine": (
        "bound the scale (`bounded_sigmoid` or `bounded_exp`: 1/g has a bound then, which "
        "sigmoid and exp lack), or take additive couplings or residual blocks with a coefficient "
        "below 1, which are bounded everywhere"
    ),
    "normalisation": "bound the scales of the normalisation, or freeze them after their start",
    "linear": "keep the matrix from going singular (`lu`, or an orthogonal mixing)",
    "unknown": "look at this block's inverse first: `innbench check` names what in it is wrong",
}

LOCAL = (
    "on the data alone a penalty helps (`normalizing_flow`, or `finite_difference`), for it bounds "
    "the inverse where it is trained and nowhere else"
)

RANGE = "clip inputs to the data's range where the bound cannot be had"


def kind(block: str) -> str:
    """Of a block, by its name."""
    name = block.lower()
    return next((one for one, parts in KINDS.items() if any(p in name for p in parts)), "unknown")
