-- One row per finished cell.
create view cells as
select
    suite,                          -- name of the suite it was run for
    cell_id,                        -- content-addressed id; unique within a suite
    status,                         -- ok, or diverged, which is a result as well
    task,                           -- what the network was trained for
    architecture,                   -- name on its axis
    architecture_label,             -- name with the parameters that differ from their defaults
    regularizer,
    regularizer_label,
    dataset,
    dataset_label,
    seed,
    steps,                          -- training steps done
    train_seconds,                  -- wall time of training without its probes, in seconds; of a pack, this cell's share
    probe_seconds,                  -- wall time of the probes, during training too, in seconds; of cells measured at once, its share
    make_timestamp_ms(finished_ms) as finished,  -- when it ended, in UTC
    finished_ms,                    -- the same, in milliseconds since 1970-01-01
    specification,                  -- JSON: everything that decides the cell's numbers
    provenance                      -- JSON: versions, device, host, git commit, data hash
from stored.cells;
