"""20 Newsgroups, the `bydate` archive: `20news-bydate-{train,test}/<group>/<number>`, one post a file.

Columns: `group` (20 classes) and `area` (7 classes, the first part of the group's name). The id is split/group/number,
since numbers repeat across groups. Posts are decoded as latin-1, as scikit-learn does: 73 of them are no UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from taskmix.config.schema import NewsgroupsDataset
from taskmix.data.readers.archive import read_members
from taskmix.data.records import BadRow, Record, Records
from taskmix.data.schema import Split
from taskmix.errors import DataError
from taskmix.storage import fetch_file, redact

CITATION = "20 Newsgroups, bydate version, Jason Rennie, http://qwone.com/~jason/20Newsgroups/"
_MEMBER = re.compile(r"(?:.*/)?20news-bydate-(?P<split>train|test)/(?P<group>[a-z0-9.-]+)/(?P<number>\d+)")
_QUOTE = re.compile(r"(writes in|writes:|wrote:|says:|said:|^In article|^Quoted from|^\||^>)")
_MAX_BYTES = 4 << 20
"""The longest official post has 160 kB; a member far beyond is no post. Arbitrary."""


class _Post(NamedTuple):
    split: Split
    group: str
    number: int
    text: str


def read_newsgroups(config: NewsgroupsDataset) -> Records:
    """Yield the posts sorted by split, group and number, whatever their order in the archive.

    A post that `strip` leaves empty stays: it is one of the benchmark's examples.

    Raises:
        Corrupt: the archive is damaged.
        DataError: it holds no member of the official layout.
    """
    posts: list[_Post] = []
    with fetch_file(config.uri) as path:
        for name, content in read_members(path, uri=redact(config.uri), wanted=_is_shown, max_bytes=_MAX_BYTES):
            match = _MEMBER.fullmatch(name)
            if match is None:
                yield BadRow(
                    None,
                    f"{redact(config.uri)}/{name}",
                    "is no post: posts are 20news-bydate-{train,test}/<group>/<number>",
                )
                continue
            split: Split = "train" if match["split"] == "train" else "test"
            text = strip_post(content.decode("latin-1"), parts=config.strip)
            posts.append(_Post(split, match["group"], int(match["number"]), text))
    if not posts:
        raise DataError(
            f"{redact(config.uri)}: holds no 20news-bydate-{{train,test}}/<group>/<number>; take the official "
            "20news-bydate.tar.gz"
        )
    for post in sorted(posts, key=lambda post: (post.split != "train", post.group, post.number)):
        row_id = f"{post.split}/{post.group}/{post.number}"
        columns = {"group": post.group, "area": post.group.partition(".")[0]}
        yield Record(post.split, f"{redact(config.uri)}/20news-bydate-{row_id}", row_id, post.text, columns)


def strip_post(text: str, *, parts: Sequence[str]) -> str:
    """The post without the given parts, by scikit-learn's rules and in its order (fetch_20newsgroups, `remove`).

    Headers: all before the first blank line. Footers: all from the last line that is blank or made of hyphens, if it is
    not the first. Quotes: lines that are quoted or introduce a quotation. Written again here since ingest runs where
    scikit-learn is not installed; a test compares both.
    """
    if "headers" in parts:
        text = text.partition("\n\n")[2]
    if "footers" in parts:
        text = _strip_footer(text)
    if "quotes" in parts:
        text = "\n".join(line for line in text.split("\n") if not _QUOTE.search(line))
    return text


def _strip_footer(text: str) -> str:
    lines = text.strip().split("\n")
    borders = [number for number, line in enumerate(lines) if not line.strip().strip("-")]
    return "\n".join(lines[: borders[-1]]) if borders and borders[-1] > 0 else text


def _is_shown(name: str) -> bool:
    return not any(part.startswith(".") and part != "." for part in name.split("/"))
