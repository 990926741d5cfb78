-- One row per run of a cell that left no result. A cell may have several, and a result as well.
create view attempts as
select
    suite,
    cell_id,
    attempt,                        -- which try, counted from 1
    status,                         -- out_of_memory, timeout, preempted or error
    message,                        -- one sentence
    traceback,                      -- the worker's, or empty
    host,                           -- where it ran
    make_timestamp_ms(finished_ms) as finished,  -- when it ended, in UTC
    finished_ms                     -- the same, in milliseconds since 1970-01-01
from stored.attempts;
