"""Finding Kubeflow Pipelines and being let in: every fault is one sentence, and is told within seconds."""

import socket
import time
from pathlib import Path

import pytest
from kfp_server import KfpServer

from taskmix.errors import PipelineServiceError
from taskmix_pipelines.connection import Connection, Server, find_connection, fit, open_client, preflight


def test_server_of_one_user_is_found_behind_a_port_forward(kfp_server: KfpServer) -> None:
    connection = find_connection(host=kfp_server.url + "/")
    assert connection == Connection(kfp_server.url)
    assert preflight(connection) == Server("2.17.0", multi_user=False)
    assert kfp_server.conversation() == [
        "GET /apis/v2beta1/healthz 200",
        "GET /apis/v2beta1/experiments 200",
    ]


def test_credentials_are_taken_in_the_order_in_which_people_have_them(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("of-the-pod\n")
    have = {
        "KF_PIPELINES_ENDPOINT": "https://kubeflow.example/pipeline/",
        "KF_TOKEN": "given",
        "KF_PIPELINES_SA_TOKEN_PATH": str(token),
        "KF_COOKIE": "authservice_session=abc",
    }
    found = []
    for gone in ("", "KF_TOKEN", "KF_PIPELINES_SA_TOKEN_PATH", "KF_COOKIE"):
        have.pop(gone, None)
        connection = find_connection(environment=have)
        found.append((connection.kind, connection.headers))
        assert connection.host == "https://kubeflow.example/pipeline"
    assert found == [
        ("token", {"Authorization": "Bearer given"}),
        ("service account", {"Authorization": "Bearer of-the-pod"}),
        ("cookie", {"Cookie": "authservice_session=abc"}),
        ("none", {}),
    ]


def test_pod_needs_no_host(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-the-pod")
    connection = find_connection(environment={"KF_PIPELINES_SA_TOKEN_PATH": str(tmp_path / "token")})
    assert connection.host == "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
    assert "of-the-pod" not in repr(connection)


@pytest.mark.parametrize("kind", ["token", "service account", "cookie"])
def test_kfps_client_shows_what_the_preflight_showed(kfp_server: KfpServer, tmp_path: Path, kind: str) -> None:
    secret = "session=s3cr3t" if kind == "cookie" else "s3cr3t"
    (tmp_path / "token").write_text(secret)
    variable = {"token": "KF_TOKEN", "cookie": "KF_COOKIE"}.get(kind, "KF_PIPELINES_SA_TOKEN_PATH")
    value = str(tmp_path / "token") if kind == "service account" else secret
    kfp_server.token = secret
    connection = find_connection(host=kfp_server.url, environment={variable: value})
    preflight(connection)
    assert not open_client(connection).list_pipelines().pipelines
    assert kfp_server.talk[-1].status == 200


def test_namespace_of_a_pod_is_not_shown_to_a_server_of_one_user(kfp_server: KfpServer) -> None:
    in_pod = Connection(kfp_server.url, namespace="kubeflow")
    server = preflight(in_pod)
    assert fit(in_pod, server) == Connection(kfp_server.url)
    kfp_server.health["multi_user"] = True
    assert fit(in_pod, preflight(in_pod)) is in_pod
    assert kfp_server.talk[-1].query["namespace"] == "kubeflow"


def test_token_of_a_pod_is_read_again_when_it_is_renewed(kfp_server: KfpServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    kfp_server.token = "first"
    client = open_client(find_connection(host=kfp_server.url, environment={"KF_PIPELINES_SA_TOKEN_PATH": str(token)}))
    token.write_text("second")
    kfp_server.token = "second"
    client.list_pipelines()
    assert kfp_server.talk[-1].status == 200


def test_no_host_is_told_with_the_port_forward() -> None:
    with pytest.raises(PipelineServiceError, match=r"no host.*--host or KF_PIPELINES_ENDPOINT.*port-forward svc/ml-p"):
        find_connection(environment={})
    with pytest.raises(PipelineServiceError, match=r"'kubeflow.example' is no URL; give http://"):
        find_connection(host="kubeflow.example", environment={})


def told(connection: Connection) -> str:
    """What the preflight says is wrong, in less time than kfp's client takes for its second try."""
    start = time.monotonic()
    with pytest.raises(PipelineServiceError) as error:
        preflight(connection)
    assert time.monotonic() - start < 6
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refused_connection_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        port = taken.getsockname()[1]
        assert "cannot be reached" in told(Connection(f"http://127.0.0.1:{port}"))


def test_silent_server_is_given_up_in_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        message = told(Connection(f"http://127.0.0.1:{silent.getsockname()[1]}"))
    assert "does not answer within 4 s" in message


def test_https_at_a_plain_port_is_told(kfp_server: KfpServer) -> None:
    assert "cannot be reached" in told(Connection(kfp_server.url.replace("http:", "https:")))


def test_missing_and_wrong_credentials_are_told_without_the_secret(kfp_server: KfpServer) -> None:
    kfp_server.token = "right"
    without = told(Connection(kfp_server.url))
    assert "not let in with no credentials (HTTP 401, Request header error" in without
    assert "set KF_TOKEN to a token, or KF_COOKIE" in without
    wrong = told(Connection(kfp_server.url, "token", source="KF_TOKEN", secret="wr0ng"))
    assert "not let in with the token of KF_TOKEN" in wrong
    assert "wr0ng" not in wrong


def test_somebody_else_s_namespace_is_told(kfp_server: KfpServer) -> None:
    kfp_server.health["multi_user"] = True
    kfp_server.faults["experiment_service_list_experiments"] = [403]
    message = told(Connection(kfp_server.url, "token", "team-b", source="KF_TOKEN", secret="x"))
    assert "not allowed with the token of KF_TOKEN in namespace 'team-b' (HTTP 403" in message


def test_server_that_is_not_ready_is_told(kfp_server: KfpServer) -> None:
    kfp_server.faults["experiment_service_list_experiments"] = [503]
    message = told(Connection(kfp_server.url))
    assert "is not ready (HTTP 503, made to fail by the test); try again" in message


def test_login_page_is_told_without_its_query(kfp_server: KfpServer) -> None:
    kfp_server.token, kfp_server.login_page = "right", True
    message = told(Connection(kfp_server.url))
    assert "leads to /dex/auth instead of JSON, with no credentials: a login page" in message
    assert "secret" not in message


def test_web_page_at_the_wrong_path_is_told(kfp_server: KfpServer) -> None:
    assert "answers with a web page instead of JSON" in told(Connection(f"{kfp_server.url}/pipeline"))
    kfp_server.behind_ui = False
    assert "HTTP 404, Not Found: no Kubeflow Pipelines 2" in told(Connection(f"{kfp_server.url}/elsewhere"))


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ({"tag_name": "2.5.0"}, "is version 2.5.0, at least 2.17 is needed"),
        ({"apiServerTagName": "2.16.1", "apiServerReady": True}, "is version 2.16.1"),
        ({"apiServerReady": False}, "the user interface answers, the API server behind it does not"),
        ({"tag_name": "2.17.0", "multi_user": True}, "needs a namespace; give --namespace or KF_NAMESPACE"),
    ],
)
def test_unfit_server_is_told(kfp_server: KfpServer, health: dict[str, object], expected: str) -> None:
    kfp_server.health = health
    assert expected in told(Connection(kfp_server.url))


@pytest.mark.parametrize(
    "health", [{"apiServerTagName": "2.18.0"}, {"tag_name": "unknown"}, {"tag_name": "v3.0.1-rc.1"}]
)
def test_newer_servers_and_those_that_do_not_tell_are_taken(kfp_server: KfpServer, health: dict[str, object]) -> None:
    kfp_server.health = health
    assert preflight(Connection(kfp_server.url)).multi_user is False
