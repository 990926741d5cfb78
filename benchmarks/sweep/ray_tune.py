"""The same cells as a grid of Ray Tune: a function trainable, a trial a cell, Tune's defaults.

``python -m benchmarks.sweep.ray_tune CELLS STORE FOLDER SLOTS [--reuse-actors]``
"""

import logging
import os
import secrets
import sys
from pathlib import Path
from typing import Any


def main(cells: str, store: str, folder: str, slots: str, *options: str) -> None:
    # Read at Ray's import, as harness/cluster/ray_executor.py sets it for `innbench run`: no usage
    # statistics, every port on loopback, a token that keeps other users of the machine out.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    import ray  # noqa: PLC0415
    from ray import tune  # noqa: PLC0415

    def trainable(config: dict[str, Any]) -> None:
        from benchmarks.sweep import cell_file  # noqa: PLC0415 - imports torch, in the trial

        cell_file.run(config["file"], store)

    ray.init(
        num_cpus=int(slots),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=folder,
    )
    try:
        files = sorted(str(file) for file in Path(cells).iterdir())
        results = tune.Tuner(
            trainable,
            param_space={"file": tune.grid_search(files)},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=int(slots), reuse_actors="--reuse-actors" in options
            ),
            run_config=tune.RunConfig(storage_path=str(Path(folder).parent / "tune")),
        ).fit()
    finally:
        ray.shutdown()
    if results.errors:
        raise results.errors[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
