-- One row per measured number, with what is asked of its cell most often: no join is needed.
-- NaN and ±inf are numbers here. NaN sorts above +inf, and one NaN makes an average NaN:
-- use finite_measurements, and count what it leaves out. Of a probe that ran during training there
-- is a number of every visit: only those that are final belong in a comparison of networks.
create view measurements as
with each as (
    select * exclude (measurements, layers, curve), unnest(measurements) as m
    from stored.cells
)
select
    suite,
    cell_id,
    status as cell_status,          -- ok or diverged
    task,
    architecture,
    architecture_label,
    regularizer,
    regularizer_label,
    dataset,
    dataset_label,
    seed,
    m.probe as probe,               -- which probe measured it, or task
    m.metric as metric,             -- which of its numbers
    m.inputs as inputs,             -- test, the name of an off-distribution set, or none
    m.precision as "precision",     -- the network ran in: float64, float32, tf32, bfloat16 or float16
    m.step as step,                 -- after how many training steps
    m.step = steps as final,        -- whether the training ended there: a probe may run during it, too
    m.value as value,               -- the number
    m.count as "count",             -- how many inputs it summarises
    m.status as status              -- finite, inf, nan; not_converged: a solver stopped early; unsupported: not in this precision
from each;
