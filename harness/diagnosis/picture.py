"""The layer profile as a picture."""

import math
from pathlib import Path
from typing import Any

from harness.diagnosis.findings import Findings
from harness.diagnosis.numbers import LayerNumbers
from harness.errors import InputError

KINDS = (".svg", ".png", ".pdf")

LINES = (
    ("accumulated_l2_worst_finite", "float32", "accumulated error, float32"),
    ("round_trip_l2_worst_finite", "float32", "its own round trip, float32"),
    ("round_trip_l2_worst_finite", "float64", "its own round trip, float64"),
    ("inverse_worst", "float64", "1/σ_min of the layer"),
    ("forward_worst", "float64", "σ_max of the layer"),
)


def checked(path: Path) -> Path:
    """The path, where a picture can be drawn and put there.

    Raises:
        InputError: It cannot: the kind, the folder, or what draws it.
    """
    if path.suffix not in KINDS:
        raise InputError(f"--picture {path}: a picture is {', '.join(KINDS)}")
    if not path.parent.is_dir():
        raise InputError(f"--picture {path}: there is no folder {path.parent}")
    try:
        import seaborn  # noqa: F401, PLC0415 - an extra
    except ImportError:
        message = "a picture needs seaborn: pip install 'innbench[picture]'"
        raise InputError(f"--picture {path}: {message}") from None
    return path


def draw(found: Findings, title: str, path: Path) -> None:
    """Errors and Lipschitz constants along the layers, on a logarithmic scale.

    Zeros and what is not finite have no place on it: layers where something overflows are shaded.

    Args:
        found: With layers; without any, the axes stay empty.
        title: Above.
        path: Where to, see :func:`checked`.
    """
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415
    import seaborn as sns  # noqa: PLC0415

    layers = LayerNumbers(found.layers)
    rows: dict[str, list[Any]] = {"layer": [], "value": [], "what": []}
    for metric, precision, what in LINES:
        for place in layers.places:
            value = layers.value(place, metric, "test", precision)
            if math.isfinite(value) and value > 0:
                rows["layer"].append(place)
                rows["value"].append(value)
                rows["what"].append(what)
    sns.set_theme(style="whitegrid", context="paper")
    figure, axes = plt.subplots(figsize=(max(6.0, 0.45 * len(layers.places) + 3), 4.5))
    if rows["layer"]:
        sns.lineplot(rows, x="layer", y="value", hue="what", style="what", markers=True, ax=axes)
        axes.set_yscale("log")
        sns.move_legend(axes, "upper left", bbox_to_anchor=(1, 1), title=None)
    for place in layers.places:
        lost = layers.value(place, "accumulated_non_finite_fraction", "test", "float32")
        if lost > 0:
            axes.axvspan(place - 0.5, place + 0.5, color="tab:red", alpha=0.15, linewidth=0)
    names = [f"{place} {layers.blocks[place]}" for place in layers.places]
    axes.set_xticks(layers.places, names, rotation=60, ha="right", fontsize=7)
    axes.set(xlabel="layer, from the input to the latent", ylabel="", title=title)
    figure.savefig(path, bbox_inches="tight", dpi=150)
    plt.close(figure)
