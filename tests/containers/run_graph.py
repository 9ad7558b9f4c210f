"""Run a configuration's graph through KFP's DockerRunner: `run_graph.py CONFIG FOLDER TRAIN_IMAGE SERVE_IMAGE SET...`.

Every step is a container without network, with its root filesystem read-only. A process of its own: KFP's local
settings are global.
"""

import os
import sys
from pathlib import Path

from kfp import local

from taskmix.config.load import load_config
from taskmix_pipelines.graph import Target, build_pipeline


def main(path: str, folder: str, train: str, serve: str, *overrides: str) -> None:
    """Run it; ends with an exception when a step is seen to fail."""
    os.umask(0)  # KFP makes the steps' folders, which the containers' user writes into
    config = load_config(Path(path), overrides=[f"storage={folder}/storage", *overrides])
    local.init(
        runner=local.DockerRunner(
            read_only=True,
            tmpfs={"/tmp": "rw,mode=1777"},
            cap_drop=["ALL"],
            network_mode="none",
            environment={"OMP_NUM_THREADS": "1"},
        ),
        pipeline_root=folder,
        raise_on_error=True,
    )
    build_pipeline(config, target=Target(run="in-containers", images={"train": train, "serve": serve}))()


if __name__ == "__main__":
    main(*sys.argv[1:])
