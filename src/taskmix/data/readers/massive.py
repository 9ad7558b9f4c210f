"""MASSIVE (arXiv 2204.08582): `1.1/data/<locale>.jsonl` out of the official tar.gz, or that file alone.

Fields of a line: id, locale, partition (train, dev or test), scenario, intent, utt, annot_utt, worker_id. All of them
are columns; the text is `utt`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from taskmix.config.schema import MassiveDataset
from taskmix.config.wording import did_you_mean, one_of, shown
from taskmix.data.readers.archive import is_archive, read_members
from taskmix.data.readers.lines import read_lines
from taskmix.data.records import BadRow, Record, Records
from taskmix.data.schema import SPLITS
from taskmix.errors import DataError
from taskmix.storage import fetch_file, redact

LICENCE = "CC BY 4.0"
CITATION = "FitzGerald et al. 2022, MASSIVE: A 1M-Example Multilingual NLU Dataset, arXiv:2204.08582"
_MAX_BYTES = 256 << 20
"""The longest official locale has 6 MB. Arbitrary."""


def read_massive(config: MassiveDataset) -> Records:
    """Yield the locale's rows in the file's order.

    Raises:
        Corrupt: the archive is damaged.
        DataError: the archive lacks the locale, or the jsonl is of another.
    """
    with fetch_file(config.uri) as path:
        if is_archive(path) or config.uri.endswith((".tar.gz", ".tgz")):
            yield from _read_archive(path, config=config)
        else:
            with path.open("rb") as lines:
                yield from _read_rows(lines, name=redact(config.uri), locale=config.locale)


def _read_archive(path: Path, *, config: MassiveDataset) -> Records:
    locales = []
    for name, content in read_members(path, uri=redact(config.uri), wanted=_is_locale, max_bytes=_MAX_BYTES):
        locale = PurePosixPath(name).stem
        locales.append(locale)
        if locale == config.locale:
            yield from _read_rows(content.splitlines(), name=f"{redact(config.uri)}/{name}", locale=locale)
    if config.locale not in locales:
        raise DataError(
            f"{redact(config.uri)}: holds no locale {config.locale!r}{did_you_mean(config.locale, locales)}; it has "
            f"{one_of(sorted(locales))}; correct 'locale', or take the official archive (1.1/data/<locale>.jsonl)"
        )


def _is_locale(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix == ".jsonl" and path.parent.name == "data" and not path.name.startswith(".")


def _read_rows(lines: Iterable[bytes], *, name: str, locale: str) -> Records:
    for item in read_lines(lines, name=name, split=None):
        if isinstance(item, BadRow):
            yield item
            continue
        where, row = item
        match row:
            case {"id": str(row_id), "partition": "train" | "dev" | "test" as split, "utt": str(text)}:
                if row.get("locale", locale) != locale:
                    raise DataError(
                        f"{where}: is of locale {row['locale']!r}, not {locale!r}; set 'locale' to what the file holds"
                    )
                yield Record(split, where, row_id, text, row)
            case {"id": _, "partition": partition, "utt": _}:
                yield BadRow(
                    None, where, f"partition is {shown(partition)}, or id or utt no text; partition is one of {SPLITS}"
                )
            case _:
                yield BadRow(
                    None, where, f"has the fields {sorted(row)}; MASSIVE's are id, partition, utt, intent, annot_utt"
                )
