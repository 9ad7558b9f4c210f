from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import boto3
import pytest
from web_server import Answer

from taskmix import storage
from taskmix.errors import NotFound, StorageError


def every_way_in(uri: str, folder: Path):
    """Each thing a user may do first with wrong settings."""
    yield lambda: storage.read_bytes(f"{uri}/a")
    yield lambda: storage.write_bytes(f"{uri}/a", b"x")
    yield lambda: storage.exists(f"{uri}/a")
    yield lambda: list(storage.list_objects(uri))
    yield lambda: storage.publish(folder, uri)
    yield lambda: storage.is_complete(uri)
    yield lambda: storage.source_version(f"{uri}/a.csv")
    yield lambda: storage.fetch_file(f"{uri}/a.csv").__enter__()
    yield lambda: storage.open_store(uri).upload(folder / "weights.safetensors", "w")
    yield lambda: storage.open_store(uri).download("w", folder / "download")


def test_a_wrong_access_key_is_told_whatever_is_done_first(swift, folder, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ml:nobody")
    for act in every_way_in(swift.uri, folder):
        with pytest.raises(StorageError, match=r"the access key is unknown .*; check AWS_ACCESS_KEY_ID"):
            act()


def test_a_wrong_secret_is_told_and_not_shown(swift, folder, monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame-open-now")
    for act in every_way_in(swift.uri, folder):
        with pytest.raises(StorageError, match=r"the secret key is not its own .*AWS_SECRET_ACCESS_KEY") as told:
            act()
        assert "sesame" not in str(told.value)
    assert "sesame" not in caplog.text


def test_a_missing_bucket_is_told_whatever_is_done_first(swift, folder) -> None:
    for act in every_way_in("s3://no-such-bucket/prefix", folder):
        with pytest.raises(StorageError, match=r"there is no such bucket.*'no-such-bucket'.*create the bucket") as told:
            act()
        assert not isinstance(told.value, NotFound)


def test_a_missing_permission_is_told(swift, folder, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", swift.server.stranger_key)
    for act in every_way_in(swift.uri, folder):
        with pytest.raises(StorageError, match=r"access denied.*ask for the permissions s3:GetObject"):
            act()


def test_a_server_that_is_not_there_is_told(swift, monkeypatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://user:sesame@127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:\d+ cannot be reached.*check that the server runs") as told:
        storage.read_bytes(f"{swift.uri}/a")
    assert "sesame" not in str(told.value)


def test_an_endpoint_that_is_no_url_is_told(swift, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:9000")
    with pytest.raises(StorageError, match=r"the endpoint is not a URL; AWS_ENDPOINT_URL .* must be like https://host"):
        storage.read_bytes(f"{swift.uri}/a")


def test_absent_credentials_are_told(swift, monkeypatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="no credentials found; set AWS_ACCESS_KEY_ID"):
        storage.read_bytes(f"{swift.uri}/a")


def test_half_the_credentials_are_told(swift, monkeypatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="only a part of the credentials is set"):
        storage.read_bytes(f"{swift.uri}/a")


def test_a_profile_that_is_nowhere_is_told(swift, monkeypatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StorageError, match="AWS_PROFILE names is in no AWS file; correct AWS_PROFILE"):
        storage.read_bytes(f"{swift.uri}/a")


def test_a_profile_in_the_standard_files_is_used(swift, monkeypatch, tmp_path) -> None:
    keys = f"aws_access_key_id={swift.server.access_key}\naws_secret_access_key={swift.server.secret_key}\n"
    (tmp_path / "credentials").write_text(f"[lab]\n{keys}")
    (tmp_path / "config").write_text(f"[profile lab]\nregion=us-east-1\nendpoint_url={swift.server.endpoint}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    storage.write_bytes(f"{swift.uri}/a", b"x")
    assert storage.read_bytes(f"{swift.uri}/a") == b"x"


def test_the_endpoint_of_s3_alone_is_used_too(swift, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", swift.server.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    storage.write_bytes(f"{swift.uri}/a", b"x")
    assert storage.read_bytes(f"{swift.uri}/a") == b"x"


def test_a_server_by_name_is_asked_for_paths_not_for_names_below_its_own(swift, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", swift.server.endpoint.replace("127.0.0.1", "localhost"))
    storage.write_bytes(f"{swift.uri}/a", b"x")
    assert storage.read_bytes(f"{swift.uri}/a") == b"x"


def test_more_objects_than_one_listing_holds(swift, tmp_path) -> None:
    folder, count = tmp_path / "many", 1010
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:04d}").write_bytes(number.to_bytes(2, "big"))
    uri = f"{swift.uri}/many"
    storage.publish(folder, uri)
    keys = [info.key for info in storage.list_objects(uri)]
    assert keys == [*sorted(f"{number:04d}" for number in range(count)), storage.MANIFEST]
    storage.delete_prefix(uri)
    assert list(storage.list_objects(uri)) == []


def test_a_large_object_travels_in_parts_and_tells_how_far_it_is(swift, tmp_path, caplog) -> None:
    caplog.set_level(logging.INFO, logger="taskmix.storage")
    folder, size = tmp_path / "large", 300 * 2**20
    folder.mkdir()
    block = bytes(range(256)) * 4096
    with (folder / "weights.safetensors").open("wb") as file:
        for number in range(size // len(block)):
            file.write(number.to_bytes(4, "big") + block[4:])
    manifest = storage.publish(folder, f"{swift.uri}/large")
    assert manifest.bytes == size
    # An object of several parts has their number at the end of its ETag: 300 MB in parts of 64 MB are five.
    assert storage.open_store(f"{swift.uri}/large").info("weights.safetensors").etag.endswith("-5")
    with storage.local_copy(f"{swift.uri}/large") as copy:
        assert (copy / "weights.safetensors").stat().st_size == size
    lines = [record.getMessage() for record in caplog.records]
    for verb in ("upload", "download"):
        assert any(line.startswith(f"{verb} {swift.uri}/large done_mb=315 total_mb=315") for line in lines)


def test_a_kill_in_the_middle_of_a_large_object_leaves_none(swift, tmp_path) -> None:
    folder = tmp_path / "large"
    folder.mkdir()
    with (folder / "weights").open("wb") as file:
        file.truncate(200 * 2**20)
    program = (
        "import sys, pathlib; from taskmix import storage; storage.publish(pathlib.Path(sys.argv[1]), sys.argv[2])"
    )
    publisher = subprocess.Popen([sys.executable, "-c", program, str(folder), f"{swift.uri}/large"])
    client = boto3.client("s3")
    while not client.list_multipart_uploads(Bucket=swift.name).get("Uploads"):
        assert publisher.poll() is None
        time.sleep(0.001)
    publisher.kill()
    publisher.wait()
    with pytest.raises(NotFound):
        storage.read_manifest(f"{swift.uri}/large")
    store = storage.open_store(f"{swift.uri}/large")
    store.clear_leftovers()  # may be another writer's, still at work: it stays for a day
    assert len(client.list_multipart_uploads(Bucket=swift.name)["Uploads"]) == 1
    store.clear_leftovers(older_than=-timedelta(seconds=2))  # Swift rounds the time of the start up
    assert "Uploads" not in client.list_multipart_uploads(Bucket=swift.name)
    client.close()


@pytest.mark.parametrize("failure", [Answer(503), Answer(500), Answer(200, b"weights", send_bytes=3)])
def test_a_passing_failure_is_tried_again(swift, web, monkeypatch, failure) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
    web.answers = [failure, Answer(200, b"weights")]
    assert storage.read_bytes(f"{swift.uri}/a") == b"weights"
    assert [request.path for request in web.requests] == [f"/{swift.name}/a"] * 2


def test_a_failure_that_stays_is_told(swift, web, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    web.answers = [Answer(503)]
    with pytest.raises(StorageError, match="cannot read: the server says 503"):
        storage.read_bytes(f"{swift.uri}/a")
    assert len(web.requests) == 2


def test_credentials_do_not_belong_in_a_uri() -> None:
    with pytest.raises(StorageError, match="credentials do not belong in a URI") as told:
        storage.open_store("s3://AKIA:sesame@bucket/prefix")
    assert "sesame" not in str(told.value)


@pytest.mark.parametrize("uri", ["s3://", "s3:///prefix", "s3://b@d", "s3://x y/z"])
def test_a_uri_without_a_bucket_is_refused(uri: str) -> None:
    with pytest.raises(StorageError, match="bucket"):
        storage.open_store(uri)


def test_users_of_folders_do_not_wait_for_boto3_and_httpx(folder: Path, tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from taskmix import storage; storage.publish(pathlib.Path(sys.argv[1]), sys.argv[2]);"
        "print(sorted({'boto3', 'botocore', 'httpx', 'rich'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(folder), str(tmp_path / "storage")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
