-- How well each cell inverts, on inputs like its training data and on inputs unlike them.
-- One row per cell; ranking and averaging over seeds and datasets is done by the leaderboard.
-- Only the network in float32 counts here, but for the task's own score, which is taken in the
-- precision that the cell was trained in; and of each number only that of the last step.

with measured as (
    select cell_id, suite, probe, metric, inputs, value
    from measurements
    where ("precision" = 'float32' or probe = 'task')
      and (probe, metric) in (
          ('reconstruction', 'l2_median'),
          ('reconstruction', 'non_finite_fraction'),
          ('sampling', 'blown_up_fraction'),
          ('task', 'bits_per_dim'),
          ('task', 'negative_log_likelihood')
      )
    qualify step = max(step) over (partition by suite, cell_id, probe, metric, inputs)
),

-- Say once what each number is for; a row is for one thing.
sorted_out as (
    select
        suite,
        cell_id,
        case
            when probe = 'reconstruction' and inputs in ('none', 'train') then null
            when metric = 'l2_median' and inputs = 'test' then 'test_error'
            when metric = 'l2_median' then 'off_error'
            when metric = 'non_finite_fraction' and inputs = 'test' then 'test_non_finite'
            when metric = 'non_finite_fraction' then 'off_non_finite'
            when metric = 'blown_up_fraction' and inputs = 'temperature_2' then 'blown_up'
            when probe = 'task' and inputs = 'test' then metric
        end as what,
        value,
        -- An error below the spacing of float32 at 1 (2^-23) tells nothing apart, and an exact 0
        -- has no logarithm: both count as 2^-23. (The smallest positive float32, 1e-45, would let
        -- one exact 0 outweigh five errors of 1e+9 in a geometric mean.)
        log10(greatest(value, pow(2, -23))) as log_error
    from measured
),

per_cell as (
    select
        suite,
        cell_id,
        count(*) filter (what = 'off_error') as off_sets,
        count(*) filter (what = 'off_error' and not isfinite(value)) as off_sets_none_finite,
        -- A NaN or inf has no place in a mean: it is counted above and in off_non_finite.
        pow(10, avg(log_error) filter (what = 'off_error' and isfinite(value))) as off_error,
        any_value(value) filter (what = 'test_error') as test_error,
        avg(value) filter (what = 'off_non_finite') as off_non_finite,
        max(value) filter (what = 'off_non_finite') as worst_non_finite,
        any_value(value) filter (what = 'test_non_finite') as test_non_finite,
        any_value(value) filter (what = 'blown_up') as blown_up,
        any_value(value) filter (what = 'bits_per_dim') as bits_per_dim,
        any_value(value) filter (what = 'negative_log_likelihood') as negative_log_likelihood
    from sorted_out
    group by suite, cell_id
)

select
    cells.suite,
    cells.cell_id,
    cells.architecture_label,
    cells.regularizer_label,
    cells.dataset_label,
    cells.seed,
    cells.status,
    -- Geometric mean over the off-distribution sets of the median L2 reconstruction error.
    -- NaN: measured, and finite on no set. NULL: not measured.
    case when off_sets > 0 then coalesce(off_error, 'nan'::double) end as off_error,
    coalesce(off_sets, 0) as off_sets,
    coalesce(off_sets_none_finite, 0) as off_sets_none_finite,
    -- Median L2 reconstruction error on the test set.
    test_error,
    -- Share of off-distribution inputs that did not come back as numbers: mean and worst set.
    -- A diverged network that could not be probed gave nothing back.
    coalesce(off_non_finite, if(cells.status = 'diverged', 1, null)) as non_finite,
    coalesce(worst_non_finite, if(cells.status = 'diverged', 1, null)) as worst_non_finite,
    -- The same for ranking: a network whose training diverged is no flow of the data, however well
    -- its weights invert, so it counts as having given nothing back.
    if(cells.status = 'diverged', 1, off_non_finite) as ranked_non_finite,
    -- A cell failed if training diverged, or if any input, of the test set too, did not come back.
    cells.status = 'diverged'
        or coalesce(worst_non_finite > 0, false)
        or coalesce(test_non_finite > 0, false) as failed,
    -- Share of samples at temperature 2 that blew up.
    blown_up,
    -- The task's own score: lower is better, for both.
    case
        when bits_per_dim is not null then 'bits_per_dim'
        when negative_log_likelihood is not null then 'negative_log_likelihood'
    end as task_metric,
    coalesce(bits_per_dim, negative_log_likelihood) as task_score,
    cells.specification
from cells
left join per_cell using (suite, cell_id)
order by all
