-- How well each cell inverts, on inputs like its training data and on inputs unlike them, and what
-- its weights promise of both Lipschitz constants beside what was measured.
-- One row per cell; ranking and averaging over seeds and datasets is done by the leaderboard.
-- Only the network in float32 counts here, but for the task's own score, which is taken in the
-- precision that the cell was trained in, and for Lipschitz constants, which are a property of the
-- weights and are computed in float64; and of what was measured during training nothing counts.

with measured as (
    select cell_id, suite, probe, metric, inputs, value
    from measurements
    where ("precision" = 'float32' or probe = 'task')
      and (probe, metric) in (
          ('reconstruction', 'l2_median'),
          ('reconstruction', 'non_finite_fraction'),
          ('sampling', 'blown_up_fraction'),
          ('task', 'bits_per_dim'),
          ('task', 'cross_entropy'),
          ('task', 'mean_squared_error'),
          ('task', 'negative_log_likelihood')
      )
      and final
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
        any_value(value) filter (what = 'cross_entropy') as cross_entropy,
        any_value(value) filter (what = 'mean_squared_error') as mean_squared_error,
        any_value(value) filter (what = 'negative_log_likelihood') as negative_log_likelihood
    from sorted_out
    group by suite, cell_id
),

-- σ_max and 1/σ_min of the Jacobian at the worst input of each set, and the bounds of the weights
-- (inputs 'none') beside them.
constants as (
    select
        suite,
        cell_id,
        inputs,
        any_value(value) filter (metric = 'forward_worst') as forward,
        any_value(value) filter (metric = 'inverse_worst') as inverse,
        any_value(value) filter (metric = 'unresolved_fraction') as unresolved,
        any_value(any_value(value) filter (metric = 'bound_forward')) over cell as forward_bound,
        any_value(any_value(value) filter (metric = 'bound_inverse')) over cell as inverse_bound
    from measurements
    where probe = 'bi_lipschitz' and "precision" = 'float64' and final
    group by suite, cell_id, inputs
    window cell as (partition by suite, cell_id)
),

held as (
    select
        suite,
        cell_id,
        -- NaN: no Jacobian was finite. max() takes a NaN for the largest.
        coalesce(max(forward) filter (not isnan(forward)), max(forward)) as forward_measured,
        coalesce(max(inverse) filter (not isnan(inverse)), max(inverse)) as inverse_measured,
        -- Some σ_min is below what float64 resolves beside σ_max: 1/σ_min is its size at most.
        coalesce(bool_or(unresolved > 0 and not isnan(unresolved)), false) as inverse_unresolved,
        any_value(forward_bound) as forward_bound,
        any_value(inverse_bound) as inverse_bound,
        -- Violated: measured above the bound by more than rounding, which is a billionth of either
        -- here, and of a singular value D·2^-52 of the largest one, less than 1e-12 of it up to
        -- D = 4,500: where σ_min is lost in that, 1/σ_min contradicts nothing. A σ_min above
        -- D·2^-52 of its own σ_max is resolved, and of such the layers' rounding is allowed 31
        -- times as much: the true one is below 32 times what was found.
        coalesce(bool_or(
            isfinite(forward_bound) and not isnan(forward) and forward > forward_bound * (1 + 1e-9)
        ), false) as forward_violated,
        coalesce(bool_or(
            isfinite(inverse_bound) and not isnan(inverse)
            and (
                1 / inverse + 1e-12 * forward < (1 - 1e-9) / inverse_bound
                or (unresolved = 0 and inverse > 32 * inverse_bound)
            )
        ), false) as inverse_violated
    from constants
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
    -- The task's own score: lower is better, for all.
    case
        when bits_per_dim is not null then 'bits_per_dim'
        when cross_entropy is not null then 'cross_entropy'
        when mean_squared_error is not null then 'mean_squared_error'
        when negative_log_likelihood is not null then 'negative_log_likelihood'
    end as task_metric,
    coalesce(
        bits_per_dim, cross_entropy, mean_squared_error, negative_log_likelihood
    ) as task_score,
    -- Of the forward map: the largest σ_max over all inputs, the bound of the weights, inf where
    -- there is none, and whether they contradict each other. NULL: not measured.
    forward_measured,
    forward_bound,
    coalesce(forward_violated, false) as forward_violated,
    -- Of the inverse: likewise, of 1/σ_min, and whether some σ_min was lost in rounding.
    inverse_measured,
    coalesce(inverse_unresolved, false) as inverse_unresolved,
    inverse_bound,
    coalesce(inverse_violated, false) as inverse_violated,
    cells.specification
from cells
left join per_cell using (suite, cell_id)
left join held using (suite, cell_id)
order by all
