-- The measurements that may be averaged and sorted: status finite, so neither NaN, nor ±inf, nor
-- a number that a solver gave up on. The columns are those of measurements.
-- What is left out is a result too: count it in measurements.
create view finite_measurements as
select *
from measurements
where status = 'finite' and isfinite(value);
