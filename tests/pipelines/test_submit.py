"""Submitting with kfp's own client to a server that knows KFP's published API: what is asked, what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from kfp_server import KfpServer

from taskmix.config.schema import Config
from taskmix.errors import PipelineServiceError
from taskmix_pipelines.connection import Connection, find_connection, open_client
from taskmix_pipelines.submit import submit

if TYPE_CHECKING:
    from kfp import Client


def test_first_submit_is_this_conversation(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    begin = len(kfp_server.talk)
    done = submit(tiny, client=client, connection=connection)
    name, pipeline = done.version.name, done.version.pipeline
    assert kfp_server.conversation(since=begin) == [
        f"GET /apis/v2beta1/pipelines?filter={_named('tiny')} 200",
        "POST /apis/v2beta1/pipelines 200",
        f"GET /apis/v2beta1/pipelines/{pipeline}/versions?filter={_named(name)} 200",
        f"POST /apis/v2beta1/pipelines/upload_version?name={name}&pipelineid={pipeline} 200",
        f"GET /apis/v2beta1/experiments?filter={_named('tiny', key='stringValue')} 200",
        "POST /apis/v2beta1/experiments 200",
        "POST /apis/v2beta1/runs 200",
    ]
    run = kfp_server.state.runs[done.run]
    assert run["runtime_config"]["pipeline_root"] == "s3://bucket/tiny/kfp/tiny"
    assert run["pipeline_version_reference"] == {"pipeline_id": pipeline, "pipeline_version_id": done.version.id}
    assert kfp_server.state.experiments[run["experiment_id"]]["display_name"] == "tiny"
    assert done.link == f"{kfp_server.url}/#/runs/details/{done.run}"


def _named(name: str, *, key: str = "string_value") -> str:
    operation = '"EQUALS"' if key == "string_value" else "1"
    return f'{{"predicates": [{{"operation": {operation}, "key": "display_name", "{key}": "{name}"}}]}}'


def test_unchanged_package_is_uploaded_once(
    kfp_server: KfpServer, client: Client, connection: Connection, tiny: Config
) -> None:
    first = submit(tiny, client=client, connection=connection)
    again = submit(tiny, client=client, connection=connection)
    changed = submit(tiny.model_copy(update={"seed": 14}), client=client, connection=connection)
    assert [done.version.uploaded for done in (first, again, changed)] == [True, False, True]
    assert again.version.id == first.version.id
    assert changed.version.name != first.version.name
    assert len(kfp_server.state.versions) == 2
    assert len(kfp_server.state.runs) == 3
    assert len(kfp_server.state.pipelines) == len(kfp_server.state.experiments) == 1


def test_steps_are_known_by_their_titles_in_an_order_in_which_they_run(
    client: Client, connection: Connection, tiny: Config
) -> None:
    steps = submit(tiny, client=client, connection=connection).version.steps
    titles = [step.title for step in steps]
    assert titles == [
        "fingerprint utterances",
        "ingest utterances",
        "finetune svm [intent]",
        "evaluate svm [intent]",
        "benchmark",
        "gate",
        "deploy taskmix",
        "smoke test taskmix",
        "keep champion taskmix",
    ]


def test_several_users_each_have_a_namespace(kfp_server: KfpServer, tiny: Config) -> None:
    kfp_server.health["multi_user"] = True
    connection = find_connection(host=kfp_server.url, namespace="team-a")
    submit(tiny, client=open_client(connection), connection=connection, service_account="runner")
    (pipeline,), (experiment,) = kfp_server.state.pipelines.values(), kfp_server.state.experiments.values()
    assert pipeline["namespace"] == experiment["namespace"] == "team-a"
    (run,) = kfp_server.state.runs.values()
    assert run["service_account"] == "runner"


@pytest.mark.parametrize(
    ("operation", "status", "expected"),
    [
        ("upload_pipeline_version", 500, "the pipeline could not be uploaded: HTTP 500: made to fail by the test"),
        ("run_service_create_run", 403, "the run could not be created: HTTP 403: made to fail by the test"),
    ],
)
def test_refusal_is_one_sentence_with_the_servers_own_words(
    kfp_server: KfpServer,
    client: Client,
    connection: Connection,
    tiny: Config,
    operation: str,
    status: int,
    expected: str,
) -> None:
    kfp_server.faults[operation] = [status]
    with pytest.raises(PipelineServiceError) as error:
        submit(tiny, client=client, connection=connection)
    assert str(error.value) == expected
    assert not kfp_server.state.runs
