"""Draw the benchmark's results as the picture in the documents.

``python analysis/bench_picture.py build/bench.parquet docs/bench.svg`` after ``make bench``.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

DODGE = 0.6
INK = "0.25"
TICKS = [0.5, 1, 2, 5, 10, 20, 50, 100]


def main(results: Path, picture: Path) -> None:
    """Ratios of every round: the median as a point, from the least to the greatest as a line."""
    # The same file for the same results: no random names, no date.
    mpl.rcParams["svg.hashsalt"] = "innbench"
    sns.set_theme(style="whitegrid", context="paper")
    frame = pd.read_parquet(results)
    ratios = frame[frame["unit"] == "×"]
    if ratios.empty:
        sys.exit(f"{results} holds no ratios to draw")
    parts = [rows for _, rows in ratios.groupby(["group", "setting"], sort=False)]
    heights = [0.5 + 0.11 * len(rows) for rows in parts]
    figure = Figure(figsize=(7.5, 1.0 + sum(heights)), layout="constrained")
    panels = figure.subplots(
        len(parts), 1, squeeze=False, sharex=True, gridspec_kw={"height_ratios": heights}
    )
    for axes, rows in zip(panels[:, 0], parts, strict=True):
        panel(axes, rows)
    of, last = frame.iloc[0], panels[-1, 0]
    last.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    last.set_xlabel(
        "times as fast as each (median and range of the rounds; bar: target)\n"
        f"{of['processor']}, {of['cores']} cores, torch {of['torch']}"
    )
    figure.savefig(picture, metadata={"Date": None})


def panel(axes: Axes, rows: pd.DataFrame) -> None:
    """One setting of one group: a line for each contender, a colour for each number of members."""
    subjects = list(rows.sort_values("members")["subject"].unique())
    contenders = list(rows["contender"].unique())
    colours = sns.color_palette("crest", len(subjects))
    sns.pointplot(
        rows.explode("values").astype({"values": float}),
        x="values",
        y="contender",
        hue="subject",
        order=contenders,
        hue_order=subjects,
        estimator="median",
        errorbar=("pi", 100),
        dodge=DODGE if len(subjects) > 1 else False,
        palette=colours,
        linestyle="none",
        markersize=4,
        err_kws={"linewidth": 1.5},
        ax=axes,
    )
    axes.set_xscale("log")
    axes.axvline(1, color=INK, linewidth=1)
    targets(axes, rows, contenders, subjects)
    axes.set(ylabel="", xlabel="")
    group, setting = rows[["group", "setting"]].iloc[0]
    axes.set_title(f"{group.capitalize()}, {setting}", loc="left")
    handles = [
        Line2D([], [], marker="o", linestyle="none", color=colour, label=subject, markersize=4)
        for subject, colour in zip(subjects, colours, strict=True)
    ]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)


def targets(axes: Axes, rows: pd.DataFrame, contenders: list[str], subjects: list[str]) -> None:
    """A bar where a row has a target other than 1, which is a line of its own."""
    middle = (len(subjects) - 1) / 2
    step = DODGE / (len(subjects) - 1) if len(subjects) > 1 else 0
    for _, row in rows[rows["target"].notna() & (rows["target"] != 1)].iterrows():
        y = contenders.index(row["contender"]) + step * (subjects.index(row["subject"]) - middle)
        axes.plot(row["target"], y, marker="|", color=INK, markersize=9, markeredgewidth=1.8)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
