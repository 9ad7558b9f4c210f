"""Bring a configuration's pipeline to the cluster and start a run of it.

A pipeline version is named by the hash of its package, so the same configuration with the same code is uploaded once,
and a run's version says exactly what ran.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from taskmix import storage
from taskmix.config.schema import Config
from taskmix.errors import PipelineServiceError
from taskmix_pipelines.compile import compile_for_cluster
from taskmix_pipelines.connection import Connection
from taskmix_pipelines.steps import Step, steps_of

if TYPE_CHECKING:
    from kfp import Client

PIPELINE_ROOT = "kfp"
"""Folder of the storage for what KFP itself writes: the small artifacts of the steps."""
_HASH_DIGITS = 16


@dataclass(frozen=True)
class Version:
    """A pipeline version on the cluster.

    Attributes:
        pipeline: the pipeline's id.
        id: the version's id.
        name: `<configuration>-<hash of the package>`.
        uploaded: false where it was there already.
        steps: what its runs consist of.
    """

    pipeline: str
    id: str
    name: str
    uploaded: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Submitted:
    """A run that was created.

    Attributes:
        run: its id.
        name: for people.
        link: its page in the user interface.
        version: what it runs.
    """

    run: str
    name: str
    link: str
    version: Version


def submit(
    config: Config,
    *,
    client: Client,
    connection: Connection,
    source: str = "configuration",
    service_account: str | None = None,
) -> Submitted:
    """Start a run of `config` in the experiment of its name.

    Args:
        config: what to run.
        client: kfp's client.
        connection: where it leads.
        source: what the configuration is called in errors.
        service_account: Kubernetes service account of the steps; null takes Kubeflow's default.

    Raises:
        ConfigError: the configuration cannot run on a cluster.
        PipelineServiceError: Kubeflow Pipelines refuses.
    """
    version = upload(config, client=client, connection=connection, source=source)
    name = f"{config.name} {datetime.now():%Y-%m-%d %H:%M:%S}"
    with calls("the run could not be created"):
        run = client.run_pipeline(
            experiment_id=experiment(config, client=client, connection=connection),
            job_name=name,
            pipeline_id=version.pipeline,
            version_id=version.id,
            pipeline_root=pipeline_root(config),
            service_account=service_account,
        )
    return Submitted(run.run_id, name, run_link(connection, run.run_id), version)


def upload(config: Config, *, client: Client, connection: Connection, source: str = "configuration") -> Version:
    """The version of `config`'s pipeline on the cluster: found by the hash of its package, else uploaded.

    Raises:
        ConfigError: the configuration cannot run on a cluster.
        PipelineServiceError: Kubeflow Pipelines refuses.
    """
    with tempfile.TemporaryDirectory(prefix="taskmix-submit-") as scratch:
        package = Path(scratch, "pipeline.yaml")
        compile_for_cluster(config, output=package, source=source)
        content = package.read_bytes()
        name = f"{config.name}-{hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]}"
        with calls("the pipeline could not be uploaded"):
            pipeline = _pipeline(config, client=client, connection=connection)
            found = _version(client, pipeline, name)
            uploaded = found is None
            if found is None:
                found = client.upload_pipeline_version(
                    str(package), pipeline_version_name=name, pipeline_id=pipeline, description="taskmix"
                ).pipeline_version_id
    steps = steps_of(next(iter(yaml.safe_load_all(content))))
    return Version(pipeline, found, name, uploaded, steps)


def experiment(config: Config, *, client: Client, connection: Connection) -> str:
    """Id of the experiment of the configuration's name, made where it is not there."""
    return str(client.create_experiment(config.name, namespace=connection.namespace or None).experiment_id)


def pipeline_root(config: Config) -> str:
    """Where KFP keeps the artifacts of this configuration's steps."""
    return storage.join(config.storage, PIPELINE_ROOT, config.name)


def run_link(connection: Connection, run: str) -> str:
    """A run's page in the user interface."""
    return f"{connection.ui}/#/runs/details/{run}"


def named(name: str) -> str:
    """KFP's filter for one display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]})


@contextlib.contextmanager
def calls(what: str) -> Iterator[None]:
    """Around calls of kfp's client: keep its `print`s from standard output, and turn its errors into one sentence.

    Args:
        what: what has failed then.

    Raises:
        PipelineServiceError: the server refused, or the connection broke.
    """
    import kfp_server_api
    import urllib3

    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except kfp_server_api.ApiException as error:
        raise PipelineServiceError(f"{what}: HTTP {error.status}: {_said(error)}") from None
    except urllib3.exceptions.HTTPError as error:
        raise PipelineServiceError(f"{what}: the connection broke: {error}") from None


def _said(error: Any) -> str:
    """The server's own message: grpc-gateway's `message`, the upload server's `error_message`."""
    try:
        body = json.loads(error.body)
        return str(body.get("message") or body.get("error_message") or body.get("error"))
    except (TypeError, ValueError, AttributeError):
        return str(error.reason)


def _pipeline(config: Config, *, client: Client, connection: Connection) -> str:
    """Id of the pipeline of the configuration's name, made without a version where it is not there."""
    import kfp_server_api

    # Not client.get_pipeline_id: it looks for shared pipelines only, which another user's may be.
    found = client.list_pipelines(namespace=connection.namespace or None, filter=named(config.name)).pipelines
    if found:
        return str(found[0].pipeline_id)
    body = kfp_server_api.V2beta1Pipeline(
        name=config.name,
        display_name=config.name,
        description=f"taskmix: {config.name}",
        namespace=connection.namespace or None,
    )
    return str(client.pipelines.pipeline_service_create_pipeline(body).pipeline_id)


def _version(client: Client, pipeline: str, name: str) -> str | None:
    found = client.list_pipeline_versions(pipeline, filter=named(name)).pipeline_versions
    return str(found[0].pipeline_version_id) if found else None
