import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taskmix.data.dataset import Dataset
from taskmix.data.schema import Span
from taskmix.errors import Corrupt, DataError, NotFound

Load = Callable[..., Dataset]
MakeRows = Callable[..., list[dict[str, Any]]]
WriteJsonl = Callable[..., dict[str, Any]]


def write_csv(folder: Path, **splits: str | bytes) -> dict[str, Any]:
    for split, content in splits.items():
        (folder / f"{split}.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return {"format": "csv", "uri": f"{folder}/{{split}}.csv", "text": "text"}


GOOD = "text,intent\n" + "".join(f"text {n},{'buy' if n % 2 else 'sell'}\n" for n in range(20))


def test_csv_reads_quotes_line_breaks_and_a_byte_order_mark(load: Load, tmp_path: Path) -> None:
    train = '\ufefftext,intent\n"one, ""two""\nthree",buy\nplain,sell\n"",buy\nlast,sell'
    dataset = load(write_csv(tmp_path, train=train, dev=GOOD, test=GOOD))
    rows = dataset.rows("train")
    assert [row.text for row in rows] == ['one, "two"\nthree', "plain", "", "last"]
    assert [row.labels["intent"] for row in rows] == ["buy", "sell", "buy", "sell"]
    assert [row.id for row in rows] == ["train/1", "train/2", "train/3", "train/4"]
    assert dataset.card["checks"]["empty_texts"] == {"train": 1, "dev": 0, "test": 0}


def test_csv_joins_columns_and_takes_ids_from_one(load: Load, tmp_path: Path) -> None:
    header = "number,subject,body,intent\n"
    config = write_csv(
        tmp_path,
        train=header + "".join(f"a{n},subject {n},body {n},{'xy'[n % 2]}\n" for n in range(10)),
        test=header + "b1,one,two,x\n",
    )
    dataset = load({**config, "text": ["subject", "body"], "id": "number"})
    [row] = dataset.rows("test")
    assert (row.id, row.text) == ("b1", "one\ntwo")


@pytest.mark.parametrize(
    ("train", "fault"),
    [
        ("", r"train\.csv: is empty; the first line names the columns"),
        ("text;intent\na;b\n", r"train\.csv line 1: seems to be separated by ';'"),
        ("text,text\na,b\n", r"names the column 'text' more than once"),
        (b"te\xffxt,intent\na,b\n", r"train\.csv line 1: is not UTF-8"),
        (GOOD + '"never closed,buy\nand,on\n', r"train\.csv line 22: a quote opens that never closes"),
        ("body,class\na,b\n", r"train\.csv: has no column 'text'; it has body, class; correct 'text' or 'id'"),
        ("texts,intent\na,b\n", r"has no column 'text'; did you mean 'texts'\?"),
        (
            "text,intents\na,b\n",
            r"tasks\.intent: the train rows of datasets\.tickets have no column 'intent'; did you mean",
        ),
        ("text,intent\n", r"datasets\.tickets: train has no usable rows"),
        ("text,intent\n,a\n,b\n", r"datasets\.tickets: train has only rows without text"),
        (
            "text,intent\na,buy\nb,buy\n",
            r"the train rows of datasets\.tickets have 1 labels \(buy\), and 2 is the least",
        ),
    ],
)
def test_csv_that_cannot_be_right_is_refused(load: Load, tmp_path: Path, train: str | bytes, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        load(write_csv(tmp_path, train=train, dev=GOOD, test=GOOD))


def test_single_bad_csv_rows_go_to_quarantine_with_line_and_reason(load: Load, tmp_path: Path) -> None:
    bad = b'bad \xff bytes,buy\ntoo,many,fields\n"two\nlines",buy\n"a"b,buy\nfine,sell\n'
    dataset = load({**write_csv(tmp_path, train=GOOD.encode() + bad, dev=GOOD, test=GOOD), "max_bad_rows": 0.2})
    entries = [json.loads(line) for line in (dataset.folder / "quarantine.jsonl").read_text().splitlines()]
    assert [entry["where"].rpartition("/")[2] for entry in entries] == [
        "train.csv line 22",
        "train.csv line 23",
        "train.csv line 26",
    ]
    assert [entry["why"].split(";")[0] for entry in entries] == [
        "is not UTF-8",
        "has 3 fields, the header 2",
        "is no CSV (',' expected after '\"')",
    ]
    assert dataset.card["checks"]["quarantined_rows"] == 3
    assert [row.text for row in dataset.rows("train")][-2:] == ["two\nlines", "fine"]


def test_more_bad_rows_than_allowed_are_an_error_that_names_the_first(load: Load, tmp_path: Path) -> None:
    bad = "".join(f"a,b,{n}\n" for n in range(7))
    with pytest.raises(DataError, match=r"7 of 67 rows are bad, more than max_bad_rows = 0\.01 allows") as caught:
        load(write_csv(tmp_path, train=GOOD + bad, dev=GOOD, test=GOOD))
    message = str(caught.value)
    assert [f"train.csv line {line}: has 3 fields" in message for line in range(22, 28)] == [True] * 5 + [False]
    assert "and 2 more" in message
    assert "raise datasets.tickets.max_bad_rows" in message


def test_jsonl_reads_labels_that_are_null_absent_or_numbers(load: Load, write_jsonl: WriteJsonl) -> None:
    train = [{"text": "a", "intent": 1}, {"text": "b", "intent": None}, {"text": "c"}, {"text": "d", "intent": 2}]
    dataset = load(write_jsonl(train=[*train, b"", b"  "], dev=train, test=train))
    assert [(row.id, row.labels) for row in dataset.rows("train")] == [
        ("train/1", {"intent": "1"}),
        ("train/4", {"intent": "2"}),
    ]
    assert dataset.card["checks"]["unlabelled_rows"] == {"train": 2, "dev": 2, "test": 2}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"text": "caf\xe9", "intent": "buy"}', "is not UTF-8 at byte 14"),
        (b'{"text": "a"', "is not JSON"),
        (b'["text"]', "is a JSON list"),
        (b'{"text": null, "intent": "buy"}', "there is no text: text is null or absent"),
        (b'{"text": 17, "intent": "buy"}', "column 'text' is of type int"),
        (b'{"text": "\\ud83d", "intent": "buy"}', "character 1 of the text is half a surrogate pair"),
        (b'{"text": "a", "intent": ["buy"]}', "tasks.intent: a value of type list is no label"),
    ],
)
def test_bad_json_line_goes_to_quarantine(
    load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows, line: bytes, why: str
) -> None:
    rows = make_rows(20)
    dataset = load({**write_jsonl(train=[*rows, line], dev=rows, test=rows), "max_bad_rows": 0.05})
    [entry] = [json.loads(text) for text in (dataset.folder / "quarantine.jsonl").read_text().splitlines()]
    assert entry["where"].endswith("train.jsonl line 21")
    assert entry["why"].startswith(why)
    assert len(dataset.rows("train")) == 20


def test_good_data_has_no_quarantine_file(load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows) -> None:
    rows = make_rows(20)
    assert not (load(write_jsonl(train=rows, dev=rows, test=rows)).folder / "quarantine.jsonl").exists()


def test_ids_that_repeat_over_splits_go_to_quarantine(load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows) -> None:
    train = [{**row, "key": n} for n, row in enumerate(make_rows(20))]
    test = [{**row, "key": n} for n, row in enumerate(make_rows(20), start=19)]
    dataset = load({**write_jsonl(train=train, test=test), "id": "key", "max_bad_rows": 0.05})
    [entry] = [json.loads(text) for text in (dataset.folder / "quarantine.jsonl").read_text().splitlines()]
    assert entry["why"].startswith("id '19' is that of")
    assert entry["split"] == "test"
    ids = [row.id for split in ("train", "dev", "test") for row in dataset.rows(split)]  # type: ignore[arg-type]
    assert len(ids) == len(set(ids)) == 39


@pytest.mark.parametrize("key", [None, "", 1.5, True])
def test_id_that_is_none_is_refused(load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows, key: object) -> None:
    train = [{**row, "key": f"k{n}"} for n, row in enumerate(make_rows(20))]
    with pytest.raises(DataError, match=r"the id \(column 'key'\) is .*; text or a whole number is needed"):
        load({**write_jsonl(train=[{**train[0], "key": key}, *train[1:]], test=train[1:]), "id": "key"})


def test_absent_train_or_test_file_is_not_found(load: Load, write_jsonl: WriteJsonl, make_rows: MakeRows) -> None:
    with pytest.raises(NotFound, match=r"test\.jsonl: there is no such file"):
        load(write_jsonl(train=make_rows(20)))


def test_parquet_reads_labels_spans_and_word_lists(load: Load, tmp_path: Path) -> None:
    rows = [
        {"words": ["fly", "to", "rome"], "intent": "go", "spans": [{"start": 7, "end": 11, "slot": "city"}]},
        {"words": ["stop"], "intent": "halt", "spans": []},
        {"words": [], "intent": "halt", "spans": None},
    ]
    for split in ("train", "dev", "test"):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{split}.parquet")
    tasks = {
        "intent": {"type": "classification", "label": "intent"},
        "slots": {"type": "slot_filling", "annotation": "spans"},
    }
    dataset = load({"format": "parquet", "uri": f"{tmp_path}/{{split}}.parquet", "text": "words"}, tasks)
    assert [(row.text, row.labels) for row in dataset.rows("test")] == [
        ("fly to rome", {"intent": "go", "slots": (Span(2, 3, "city"),)}),
        ("stop", {"intent": "halt", "slots": ()}),
        ("", {"intent": "halt"}),
    ]


def test_parquet_string_that_is_not_utf8_goes_to_quarantine(load: Load, tmp_path: Path) -> None:
    texts = [b"good %d" % n for n in range(40)] + [b"bad \xff"]
    binary = pa.array(texts, type=pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(texts), binary.buffers())
    table = pa.table({"text": text, "intent": ["a", "b"] * 20 + ["a"]})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    config = {"format": "parquet", "uri": f"{tmp_path}/{{split}}.parquet", "text": "text", "max_bad_rows": 0.05}
    dataset = load(config)
    assert dataset.card["checks"]["quarantined_rows"] == 2
    assert "row 41" in (dataset.folder / "quarantine.jsonl").read_text()


@pytest.mark.parametrize("content", [b"", b"PAR1 but not really", b"text,intent\n"])
def test_file_that_is_no_parquet_is_corrupt(load: Load, tmp_path: Path, content: bytes) -> None:
    for split in ("train", "test"):
        (tmp_path / f"{split}.parquet").write_bytes(content)
    with pytest.raises(Corrupt, match=r"train\.parquet: is damaged or no Parquet file"):
        load({"format": "parquet", "uri": f"{tmp_path}/{{split}}.parquet", "text": "text"})


def test_long_fields_are_read_whole(load: Load, tmp_path: Path) -> None:
    long = "word " * 100_000
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "intent"), (long, "a"), ("short", "b")])
    dataset = load(write_csv(tmp_path, dev=GOOD, test=GOOD))
    assert dataset.rows("train")[0].text == long
