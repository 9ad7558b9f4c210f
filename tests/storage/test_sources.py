from __future__ import annotations

import gzip
import hashlib
import logging
from pathlib import Path

import pytest
from web_server import Answer, WebServer

from taskmix import storage
from taskmix.errors import NotFound, StorageError
from taskmix.storage.web import download

BODY = b"id,text\n1,wake me at nine\n" * 1000


def fetch(uri: str) -> bytes:
    with storage.fetch_file(uri) as path:
        return path.read_bytes()


def test_a_stored_file_is_fetched_under_its_own_name(root: str) -> None:
    storage.write_bytes(storage.join(root, "data/train set.tar.gz"), BODY)
    with storage.fetch_file(storage.join(root, "data/train set.tar.gz")) as path:
        assert path.name == "train set.tar.gz"
        assert path.read_bytes() == BODY


def test_a_stored_file_that_is_absent_is_not_found(root: str) -> None:
    with pytest.raises(NotFound, match=r"absent\.csv: there is no such"):
        fetch(storage.join(root, "absent.csv"))
    with pytest.raises(NotFound, match=r"absent\.csv: there is no such"):
        storage.source_version(storage.join(root, "absent.csv"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is a folder, not a file"):
        fetch(str(tmp_path))


def test_a_version_changes_with_the_content_and_only_then(root: str) -> None:
    uri = storage.join(root, "train.csv")
    storage.write_bytes(uri, b"one")
    before = storage.source_version(uri)
    assert storage.source_version(uri) == before
    storage.write_bytes(uri, b"two", replace=True)
    assert storage.source_version(uri) != before
    storage.write_bytes(uri, b"one", replace=True)
    assert storage.source_version(uri) == before


def test_the_version_of_a_local_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(BODY)
    (tmp_path / "moved.csv").write_bytes(BODY)
    expected = hashlib.sha256(BODY).hexdigest()[:16]
    assert storage.source_version(str(tmp_path / "a.csv")) == expected
    assert storage.source_version(str(tmp_path / "moved.csv")) == expected


def test_the_version_of_a_folder_is_that_of_all_its_files(root: str) -> None:
    storage.write_bytes(storage.join(root, "set/train.csv"), b"one")
    before = storage.source_version(storage.join(root, "set"))
    storage.write_bytes(storage.join(root, "set/test.csv"), b"two")
    assert storage.source_version(storage.join(root, "set")) != before


def test_a_web_file_is_fetched_after_failures(web: WebServer) -> None:
    web.answers = [Answer(503), Answer(200, BODY, send_bytes=100), Answer(200, BODY)]
    assert fetch(f"{web.url}/data.csv") == BODY
    assert len(web.requests) == 3


def test_a_web_file_that_keeps_arriving_short_is_refused(web: WebServer) -> None:
    web.answers = [Answer(200, BODY, send_bytes=100)]
    with pytest.raises(StorageError, match=r"no answer to use in 5 attempts.*or download the file and give its path"):
        fetch(f"{web.url}/data.csv")


def test_a_web_file_follows_redirects(web: WebServer) -> None:
    web.answers = [Answer(302, headers={"location": "/elsewhere.csv"}), Answer(200, BODY)]
    assert fetch(f"{web.url}/data.csv") == BODY
    assert [request.path for request in web.requests] == ["/data.csv", "/elsewhere.csv"]


def test_a_web_file_that_travels_compressed_arrives_as_it_is(web: WebServer) -> None:
    web.answers = [Answer(200, gzip.compress(BODY), headers={"content-encoding": "gzip"})]
    assert fetch(f"{web.url}/data.csv") == BODY


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_while_downloading(web: WebServer) -> None:
    web.answers = [Answer(200, BODY)]
    with pytest.raises(StorageError, match="/dev/full: cannot write: No space left on device; free some space"):
        download(f"{web.url}/data.csv", Path("/dev/full"))


def test_a_web_file_that_is_absent_is_not_found_at_once(web: WebServer) -> None:
    web.answers = [Answer(404)]
    for act in (fetch, storage.source_version):
        with pytest.raises(NotFound, match=r"data\.csv: the server says 404 Not Found; correct the address"):
            act(f"{web.url}/data.csv")
    assert len(web.requests) == 2


@pytest.mark.parametrize(("code", "remedy"), [(401, "give credentials"), (403, "give credentials"), (400, "check the")])
def test_a_web_server_that_refuses_is_told(web: WebServer, code: int, remedy: str) -> None:
    web.answers = [Answer(code)]
    with pytest.raises(StorageError, match=rf"the server says {code} .*; {remedy}"):
        fetch(f"{web.url}/data.csv")


def test_an_address_that_is_none_is_told() -> None:
    with pytest.raises(StorageError, match="is not a URL"):
        fetch("http://host:port/data.csv")


def test_secrets_of_a_web_address_reach_the_server_and_nothing_else(
    web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    secret = web.url.replace("http://", "http://user:sesame@") + "/data.csv?X-Amz-Signature=abracadabra"
    web.answers = [Answer(500), Answer(200, BODY), Answer(404)]
    assert fetch(secret) == BODY
    assert web.requests[0].headers["Authorization"] == "Basic dXNlcjpzZXNhbWU="
    assert web.requests[0].path == "/data.csv?X-Amz-Signature=abracadabra"
    with pytest.raises(NotFound) as told:
        fetch(secret)
    for shown in (caplog.text, str(told.value)):
        assert "data.csv" in shown
        assert "sesame" not in shown
        assert "abracadabra" not in shown


def test_the_version_of_a_web_file_is_what_the_server_says_of_it(web: WebServer) -> None:
    web.answers = [Answer(200, BODY, headers={"etag": '"1"'})]
    first = storage.source_version(f"{web.url}/data.csv")
    assert [request.method for request in web.requests] == ["HEAD"]
    web.answers = [Answer(200, BODY, headers={"etag": '"2"'})]
    assert storage.source_version(f"{web.url}/data.csv") != first


@pytest.mark.parametrize("head", [Answer(200, BODY), Answer(405)])
def test_the_version_of_a_web_file_is_that_of_its_bytes_where_the_server_says_nothing(
    web: WebServer, head: Answer
) -> None:
    web.answers = [head, Answer(200, BODY)]
    assert storage.source_version(f"{web.url}/data.csv") == hashlib.sha256(BODY).hexdigest()[:16]
