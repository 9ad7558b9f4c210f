import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.datasets._twenty_newsgroups import (
    strip_newsgroup_footer,
    strip_newsgroup_header,
    strip_newsgroup_quoting,
)

from taskmix.data.dataset import Dataset
from taskmix.data.readers.newsgroups import strip_post
from taskmix.errors import Corrupt, DataError, NotFound

Load = Callable[..., Dataset]
WriteTar = Callable[..., str]
GROUP = {"group": {"type": "classification", "label": "group"}, "area": {"type": "classification", "label": "area"}}


def massive_line(number: int, *, partition: str, **changes: Any) -> bytes:
    city = ("rome", "paris")[number % 2]
    row = {
        "id": str(number),
        "locale": "en-US",
        "partition": partition,
        "intent": ("go", "stay")[number % 2],
        "utt": f"take train {number} to {city}",
        "annot_utt": f"take train {number} to [place : {city}]",
    }
    return json.dumps({**row, **changes}).encode()


MASSIVE = b"\n".join(massive_line(n, partition=("train", "train", "dev", "test")[n // 2 % 4]) for n in range(32))
MASSIVE_TASKS = {
    "intent": {"type": "classification", "label": "intent"},
    "slots": {"type": "slot_filling", "annotation": "annot_utt"},
}


def test_massive_is_read_from_the_archive_as_from_the_file(load: Load, write_tar: WriteTar, tmp_path: Path) -> None:
    members = {"1.1/LICENSE": b"text", "1.1/data/de-DE.jsonl": b"{}", "1.1/data/en-US.jsonl": MASSIVE}
    packed = load({"format": "massive", "uri": write_tar(members)}, MASSIVE_TASKS)
    (tmp_path / "en-US.jsonl").write_bytes(MASSIVE)
    plain = load({"format": "massive", "uri": str(tmp_path / "en-US.jsonl")}, MASSIVE_TASKS)
    assert packed.task_hashes == plain.task_hashes
    assert {split: facts["rows"] for split, facts in packed.card["splits"].items()} == {
        "train": 16,
        "dev": 8,
        "test": 8,
    }
    assert packed.label_spaces["slots"].labels == ("place",)
    assert packed.card["source"]["licence"] == "CC BY 4.0"


def test_massive_archive_is_known_by_its_content_not_its_name(load: Load, write_tar: WriteTar) -> None:
    uri = write_tar({"1.1/data/en-US.jsonl": MASSIVE}, name="download")
    assert len(load({"format": "massive", "uri": uri}, MASSIVE_TASKS).rows("train")) == 16


def test_massive_without_the_locale_names_those_there(load: Load, write_tar: WriteTar) -> None:
    uri = write_tar({"1.1/data/en-US.jsonl": MASSIVE, "1.1/data/de-DE.jsonl": MASSIVE})
    with pytest.raises(DataError, match=r"holds no locale 'en-UK'; did you mean 'en-US'\?; it has de-DE, en-US"):
        load({"format": "massive", "uri": uri, "locale": "en-UK"}, MASSIVE_TASKS)


def test_massive_file_of_another_locale_is_refused(load: Load, tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_bytes(MASSIVE)
    with pytest.raises(DataError, match=r"line 1: is of locale 'en-US', not 'de-DE'"):
        load({"format": "massive", "uri": str(tmp_path / "data.jsonl"), "locale": "de-DE"}, MASSIVE_TASKS)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"partition": "validation"}, "partition is 'validation'"),
        ({"utt": None}, "id or utt no text"),
        ({"annot_utt": "take [place : rome"}, "tasks.slots: a '[' at character 6 of the text"),
        (
            {"annot_utt": "take train to [place : rome]"},
            "tasks.slots: the annotation without its brackets is not the text",
        ),
    ],
)
def test_bad_massive_row_goes_to_quarantine(load: Load, tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    (tmp_path / "data.jsonl").write_bytes(MASSIVE + b"\n" + massive_line(99, **{"partition": "train", **changes}))
    dataset = load({"format": "massive", "uri": str(tmp_path / "data.jsonl"), "max_bad_rows": 0.1}, MASSIVE_TASKS)
    [entry] = [json.loads(line) for line in (dataset.folder / "quarantine.jsonl").read_text().splitlines()]
    assert entry["where"].endswith("data.jsonl line 33")
    assert why in entry["why"]


def test_bad_label_of_one_task_leaves_the_row_to_the_others(load: Load, tmp_path: Path) -> None:
    bad = massive_line(99, partition="train", annot_utt="take [place : rome")
    (tmp_path / "data.jsonl").write_bytes(MASSIVE + b"\n" + bad)
    dataset = load({"format": "massive", "uri": str(tmp_path / "data.jsonl"), "max_bad_rows": 0.1}, MASSIVE_TASKS)
    row = dataset.rows("train")[-1]
    assert (row.id, row.labels) == ("99", {"intent": "stay"})
    assert dataset.card["checks"]["quarantined_labels"] == {"slots": 1}
    assert dataset.card["tasks"]["slots"]["unlabelled"]["train"] == 1


def post(number: int, *, group: str) -> bytes:
    return f"From: someone\nSubject: {group}\n\nAbout {group}, post {number}.\n".encode("latin-1")


def newsgroups(extra: dict[str, bytes] | None = None) -> dict[str, bytes]:
    members = {
        f"20news-bydate-{split}/{group}/{number}": post(number, group=group)
        for split, numbers in (("train", range(100, 120)), ("test", range(20, 25)))
        for group in ("sci.space", "rec.autos", "sci.med")
        for number in numbers
    }
    return {**members, **(extra or {})}


def test_newsgroups_gives_group_and_area_in_a_stable_order(load: Load, write_tar: WriteTar) -> None:
    members = newsgroups()
    dataset = load({"format": "20newsgroups", "uri": write_tar(members), "strip": ["headers"]}, GROUP)
    rows = dataset.rows("test")
    assert rows[0].id == "test/rec.autos/20"
    assert rows[0].labels == {"group": "rec.autos", "area": "rec"}
    assert rows[0].text == "About rec.autos, post 20.\n"
    backwards = dict(reversed(members.items()))
    other = load({"format": "20newsgroups", "uri": write_tar(backwards, name="b.tar.gz"), "strip": ["headers"]}, GROUP)
    assert other.task_hashes == dataset.task_hashes
    assert dataset.label_spaces["area"].labels == ("rec", "sci")


def test_newsgroups_keeps_empty_posts_carriage_returns_and_latin1(load: Load, write_tar: WriteTar) -> None:
    extra = {
        "20news-bydate-test/sci.med/1": b"From: a\n\n",
        "20news-bydate-test/sci.med/2": b"From: a\n\ncaf\xe9\r\nau lait",
    }
    dataset = load({"format": "20newsgroups", "uri": write_tar(newsgroups(extra)), "strip": ["headers"]}, GROUP)
    texts = {row.id: row.text for row in dataset.rows("test")}
    assert texts["test/sci.med/1"] == ""
    assert texts["test/sci.med/2"] == "café\r\nau lait"
    assert dataset.card["checks"]["empty_texts"]["test"] == 1


def test_member_that_is_no_post_goes_to_quarantine(load: Load, write_tar: WriteTar) -> None:
    extra = {"20news-bydate-train/README": b"hello", "20news-bydate-train/sci.med/._100": b"junk of a file system"}
    uri = write_tar(newsgroups(extra))
    dataset = load({"format": "20newsgroups", "uri": uri, "max_bad_rows": 0.05}, GROUP)
    [entry] = [json.loads(line) for line in (dataset.folder / "quarantine.jsonl").read_text().splitlines()]
    assert entry["where"].endswith("20news-bydate-train/README")


def test_archive_of_another_layout_is_refused(load: Load, write_tar: WriteTar) -> None:
    with pytest.raises(DataError, match=r"holds no 20news-bydate-\{train,test\}/<group>/<number>; take the official"):
        load({"format": "20newsgroups", "uri": write_tar({"20_newsgroups/sci.med/1": b"a"})}, GROUP)


@pytest.mark.parametrize("name", ["../20news-bydate-train/sci.med/1", "/20news-bydate-train/sci.med/1", "a\\..\\b"])
def test_member_outside_the_archive_is_refused(load: Load, write_tar: WriteTar, name: str) -> None:
    with pytest.raises(DataError, match=r"points outside the archive"):
        load({"format": "20newsgroups", "uri": write_tar(newsgroups({name: b"a"}))}, GROUP)


def test_links_in_an_archive_are_not_followed(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "links.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in newsgroups().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("20news-bydate-test/sci.med/666")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    dataset = load({"format": "20newsgroups", "uri": str(path)}, GROUP)
    assert "test/sci.med/666" not in {row.id for row in dataset.rows("test")}


def test_member_that_would_fill_the_memory_is_refused(load: Load, write_tar: WriteTar) -> None:
    uri = write_tar({"20news-bydate-train/sci.med/1": b"0" * (5 << 20)})
    with pytest.raises(DataError, match=r"has 5,242,880 bytes, more than 4,194,304"):
        load({"format": "20newsgroups", "uri": uri}, GROUP)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_truncated_archive_is_corrupt(load: Load, write_tar: WriteTar, share: float) -> None:
    path = Path(write_tar(newsgroups()))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(Corrupt, match=r"archive\.tar\.gz: is damaged or no tar\.gz archive"):
        load({"format": "20newsgroups", "uri": str(path)}, GROUP)


def test_archive_that_fails_its_checksum_is_corrupt(load: Load, write_tar: WriteTar) -> None:
    path = Path(write_tar(newsgroups()))
    data = bytearray(path.read_bytes())
    data[-6] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=r"CRC check failed"):
        load({"format": "20newsgroups", "uri": str(path)}, GROUP)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>not found</html>", gzip.compress(b"no tar", mtime=0)],
    ids=["empty", "a web page", "a gzip of no tar"],
)
def test_file_that_is_no_archive_is_corrupt(load: Load, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(Corrupt, match=r"is damaged or no tar\.gz archive"):
        load({"format": "20newsgroups", "uri": str(tmp_path / "x.tar.gz")}, GROUP)


def test_absent_archive_is_not_found(load: Load, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.tar\.gz: there is no such file"):
        load({"format": "20newsgroups", "uri": str(tmp_path / "nowhere.tar.gz")}, GROUP)


POSTS = [
    "",
    "\n\n",
    "no blank line",
    "From: a\n\nbody\n-- \nsignature",
    "From: a\n\n\n\nbody\n\nend",
    "From: a\n\n> quoted\nIn article <1> b writes:\n| more\nmine\n",
    "From: a\n\n---\nall footer",
    "Subject: x\n\nline\r\n\r\nmore\n--\nme",
]


@pytest.mark.parametrize("text", POSTS)
def test_stripping_follows_scikit_learn(text: str) -> None:
    theirs = strip_newsgroup_quoting(strip_newsgroup_footer(strip_newsgroup_header(text)))
    assert strip_post(text, parts=("quotes", "headers", "footers")) == theirs
    assert strip_post(text, parts=("footers",)) == strip_newsgroup_footer(text)
    assert strip_post(text, parts=("quotes",)) == strip_newsgroup_quoting(text)
    assert strip_post(text, parts=()) == text
