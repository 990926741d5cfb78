"""What a reader must know to read a leaderboard right, in sentences."""

from harness.leaderboard.statistics import smallest_p

INCOMPLETE = "*"
LEFT_OUT = "†"
_SIGNIFICANT = 0.05


def of(
    *,
    datasets: int,
    least_seeds: int,
    planned_known: bool,
    shared: bool,
    outside: int,
    incomplete: bool,
    left_out: bool,
    unmeasured: bool,
    draws: int,
    bootstrap_seed: int,
    sql: str,
) -> tuple[str, ...]:
    """The footnotes of a board.

    Args:
        datasets: How many datasets it is over.
        least_seeds: The fewest seeds that an entrant has on a dataset it was run on.
        planned_known: Whether the caller said what is planned.
        shared: Whether entrants of the same labels differ in other settings.
        outside: Cells of the suite's folder that do not count.
        incomplete: Whether an entrant is incomplete.
        left_out: Whether numbers that are not finite were left out of an error.
        unmeasured: Whether an entrant has cells without any off-distribution error.
        draws: Draws of the bootstrap.
        bootstrap_seed: Seed of the bootstrap.
        sql: Path of the SQL.
    """
    notes = [
        "rank: on each dataset by the share of non-finite inputs, then by the error, both off "
        "distribution and averaged over seeds; then the mean over datasets. Lower is better.",
        "error: L2 norm of x - inverse(forward(x)) in float32; its median over the finite ones of "
        "an input set, and the geometric interquartile mean over datasets.",
        "failed: training diverged, or an off-distribution input came back as NaN or inf.",
    ]
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
    if shared:
        notes.append("entrants of the same labels share their planned cells evenly.")
    if outside:
        cells = "cell" if outside == 1 else "cells"
        notes.append(f"{outside} {cells} in the store that the suite no longer plans do not count.")
    if 0 < least_seeds < 2:
        notes.append(
            "some entrants have one seed on a dataset: their intervals lack its spread, or are "
            "not shown. Two seeds are the least, five are better."
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
    notes.append(f"the numbers of each cell: {sql}; change it and run it with `innbench sql`.")
    return tuple(notes)
