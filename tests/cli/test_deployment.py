"""`taskmix deploy` and `taskmix rollback`: what they say where there is nothing to deploy to, or to return to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tiny_bundles import publish_run

Taskmix = Callable[..., subprocess.CompletedProcess[str]]


def test_deploying_from_a_folder_is_refused_since_pods_do_not_share_it(
    taskmix: Taskmix, config_file: Path, tmp_path: Path
) -> None:
    publish_run(str(tmp_path / "runs"), run="run-1")

    done = taskmix("deploy", "config.yaml", "--run", "run-1")

    assert (done.returncode, done.stdout) == (2, "")
    assert "runs/deployments/taskmix/history/run-1.json: lies in a folder of this machine, which a cluster's pods" in (
        done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_rollback_before_the_first_deployment_says_so(taskmix: Taskmix, config_file: Path) -> None:
    done = taskmix("rollback", "config.yaml")

    assert done.returncode == 2
    assert "champion.json: is not there: nothing has been deployed under this name" in done.stderr


def test_deploying_without_a_cluster_says_how_to_name_one(taskmix: Taskmix, config_file: Path, swift) -> None:
    publish_run(swift.uri, run="run-1")

    done = taskmix("deploy", "config.yaml", "--run", "run-1", "--storage", swift.uri, env={"KUBECONFIG": "/nowhere"})

    assert done.returncode == 2
    assert "taskmix: no cluster: " in done.stderr
    assert "name a kubeconfig in KUBECONFIG" in done.stderr
