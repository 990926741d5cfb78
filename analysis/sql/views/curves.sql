-- One row per point of a training curve.
create view curves as
with each as (
    select * exclude (measurements, layers, curve), unnest(curve) as p
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
    p.step as step,                 -- after how many training steps
    p.metric as metric,             -- which number: loss, penalty, …
    p.value as value                -- NaN and ±inf are kept
from each;
