"""What a reader must know to read a leaderboard right, in sentences."""

from collections.abc import Collection, Sequence

from harness.leaderboard.statistics import COVERAGE, smallest_p

INCOMPLETE = "*"
LEFT_OUT = "†"
VIOLATED = "‼"
UNRESOLVED = "~"
ENOUGH_SEEDS = 8
_SIGNIFICANT = 0.05


def of(
    *,
    datasets: int,
    seeds: Collection[int],
    planned_known: bool,
    outside: int,
    incomplete: bool,
    left_out: bool,
    draws_lost: bool,
    unmeasured: bool,
    bounded: bool,
    unresolved: bool,
    violations: Sequence[str],
    draws: int,
    bootstrap_seed: int,
    sql: str,
) -> tuple[str, ...]:
    """The footnotes of a board.

    Args:
        datasets: How many datasets it is over.
        seeds: How many seeds entrants have on the datasets that they were run on.
        planned_known: Whether the caller said what is planned.
        outside: Cells of the suite's folder that do not count.
        incomplete: Whether an entrant is incomplete.
        left_out: Whether numbers that are not finite were left out of an error.
        draws_lost: Whether some of the bootstrap's draws held nothing finite on a dataset.
        unmeasured: Whether an entrant has cells without any off-distribution error.
        bounded: Whether Lipschitz constants were measured, and stand beside their bounds.
        unresolved: Whether some smallest singular value was lost in rounding.
        violations: What was measured above its bound, a phrase each.
        draws: Draws of the bootstrap.
        bootstrap_seed: Seed of the bootstrap.
        sql: Path of the SQL.
    """
    notes = [
        f"{VIOLATED} BOUND VIOLATED: {one}: measured above what the weights promise, by more than "
        "rounding. A defect of a block's bounds(), or of its arithmetic."
        for one in violations
    ]
    notes += [
        "rank: on each dataset by the share of non-finite inputs, then by the error, both off "
        "distribution and averaged over seeds, where a cell that diverged in training counts as "
        "wholly non-finite; then the mean over datasets. Lower is better.",
        "error: L2 norm of x - inverse(forward(x)) in float32; its median over the finite ones of "
        "an input set, and the geometric interquartile mean over datasets.",
        "failed: training diverged, or an input, off distribution or of the test set, came back as "
        "NaN or inf.",
    ]
    if bounded:
        notes.append(
            "σ max, 1/σ min: the largest singular value of the Jacobian and the inverse of the "
            "smallest, in float64, at the worst of all inputs of all cells; a Jacobian that is not "
            "finite is left out. bound: what bounds() promises for all inputs from the weights at "
            "the end of training, the largest of all cells; inf: there is none. closest: the "
            "largest share of its own bound that a cell was measured to reach. A map with jumps, "
            "which rounds or chooses its steps, has no bound, and its σ are of what lies between."
        )
    if unresolved:
        notes.append(
            f"{UNRESOLVED} some σ min is below what float64 resolves beside σ max: 1/σ min is "
            "large, and its digits are rounding."
        )
    if incomplete:
        notes.append(
            f"{INCOMPLETE} not all planned cells are done: ranked after all that are complete."
        )
    if left_out:
        notes.append(
            f"{LEFT_OUT} NaN and inf are left out of an error; on some inputs nothing else was "
            "there. Read it with the non-finite column."
        )
    if unmeasured:
        notes.append("not measured: the suite did not run the probe reconstruction in float32.")
    if not planned_known:
        notes.append("planned is not known: taken as the most that any entrant has on a dataset.")
    if outside:
        cells = "cell" if outside == 1 else "cells"
        notes.append(f"{outside} {cells} in the store that the suite no longer plans do not count.")
    if 1 in seeds:
        notes.append(
            "some entrants have one seed on a dataset: their intervals lack its spread, or are "
            "not shown. Two seeds are the least, eight are better."
        )
    if 0 < datasets < 4:
        notes.append("with fewer than 4 datasets the interquartile mean trims nothing.")
    least = smallest_p(datasets)
    if least > _SIGNIFICANT:
        some = "1 dataset" if datasets == 1 else f"{datasets} datasets"
        notes.append(
            f"with {some} no difference between two entrants can be significant: an exact "
            f"two-sided Wilcoxon test gives p ≥ 2^(1-{datasets}) = {least:g}."
        )
    notes.append(
        f"intervals: 95 %; seeds resampled within each dataset, {draws} times, generator "
        f"seed {bootstrap_seed}; of failed cells, Wilson's. They cover seeds, not the choice of "
        "datasets."
    )
    if (fewest := min((n for n in seeds if n > 1), default=ENOUGH_SEEDS)) < ENOUGH_SEEDS:
        some = "one dataset" if datasets == 1 else "two datasets"
        notes.append(
            "intervals of the error are too narrow where seeds are few: in simulations of "
            f"{some} with {fewest} seeds each, the fewest resampled here, only "
            f"{COVERAGE[min(datasets, 2)][fewest]} % of those called 95 % held the true error "
            "(docs/decisions/ranking.md)."
        )
    if draws_lost:
        notes.append(
            "a draw of seeds that held nothing finite on a dataset is left out there, and one that "
            "held nothing finite at all is left out of the interval of the error."
        )
    notes.append(f"the numbers of each cell: {sql}; change it and run it with `innbench sql`.")
    return tuple(notes)
