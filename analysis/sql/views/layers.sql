-- One row per number that was measured of one layer of a network, on the way of given inputs.
-- NaN and ±inf are numbers here, as in measurements.
create view layers as
with each as (
    select * exclude (measurements, layers, curve), unnest(layers) as m
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
    m.layer as layer,               -- its place on the way to the latent, counted from 0
    m.block as block,               -- what it is: ActNorm, Coupling: Affine, Sigmoid
    m.probe as probe,               -- which probe measured it
    m.metric as metric,             -- which of its numbers
    m.inputs as inputs,             -- test, the name of an off-distribution set, or none
    m.precision as "precision",     -- the network ran in: float64, float32, tf32, bfloat16 or float16
    m.step as step,                 -- after how many training steps
    m.step = steps as final,        -- whether the training ended there: a probe may run during it, too
    m.value as value,               -- the number
    m.count as "count",             -- how many inputs it summarises
    m.status as status              -- finite, inf, nan; not_converged: a solver stopped early; unsupported: not in this precision
from each;
