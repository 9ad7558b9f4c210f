"""The report: one file without scripts, the same bytes from storage alone, and readable whatever it holds."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from taskmix import storage
from taskmix.config.schema import ApiModel, Reference
from taskmix.errors import EvaluationError, NotFound
from taskmix.evaluation.benchmark import MAX_DETAILS
from taskmix.evaluation.report import regenerate
from taskmix.evaluation.report.charts import interval_panels, linear_axis, log_axis
from taskmix.evaluation.report.curves import learning_curves
from taskmix.evaluation.report.figures import percent, points, seconds, size
from taskmix.evaluation.report.heatmap import GRID_LABELS
from taskmix.evaluation.report.model import Report, read_report
from taskmix.evaluation.report.render import cell, render_html, render_markdown
from taskmix.evaluation.report.scatter import NARROW, _box, _overlap, place_labels, quality_against
from taskmix.modeling.bundle import EpochRecord


@pytest.fixture
def report(report_uri: str) -> Report:
    return read_report(report_uri)


class Tags(HTMLParser):
    """Collects the tags, their attributes, and whether they close in order."""

    VOID = frozenset({"meta", "br", "wbr", "hr", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"


def test_html_is_well_formed_and_needs_nothing_from_elsewhere(report):
    html = render_html(report)
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert not {tag for tag, _ in tags.seen} & {"link", "img", "iframe", "object"}
    assert [attrs for tag, attrs in tags.seen if tag == "script"] == [{}], (
        "the one that sorts tables, in the page itself"
    )
    assert not [attrs for _, attrs in tags.seen if "src" in attrs or "href" in attrs or "onclick" in attrs]
    assert "url(" not in html
    assert "@import" not in html
    assert len(html.encode()) < 5_000_000


def test_html_and_markdown_tell_every_system_and_score(report):
    html, markdown = render_html(report), render_markdown(report)
    for row in report.systems:
        assert row.name in markdown
        assert row.name in html
        for task, primary in report.primary.items():
            assert percent(row.tasks[task][primary].value) in html
            assert percent(row.tasks[task][primary].value) in markdown
    for job in report.jobs:
        assert job.manifest in html
        assert job.manifest[:12] in markdown
    assert "duplicates within a split" in html
    assert "sum of its jobs' times" in markdown


def test_regenerated_report_is_byte_for_byte_the_published_one_from_report_json_alone(report_uri, tmp_path):
    alone = tmp_path / "alone" / "report"
    alone.mkdir(parents=True)
    shutil.copy(Path(report_uri) / "report.json", alone)
    html, markdown = regenerate(str(alone), folder=tmp_path / "again")
    assert html.read_bytes() == (Path(report_uri) / "report.html").read_bytes()
    assert markdown.read_bytes() == (Path(report_uri) / "report.md").read_bytes()


def test_regenerating_what_is_not_there_or_of_another_format_is_told(report_uri, tmp_path):
    with pytest.raises(NotFound):
        regenerate(str(tmp_path / "nowhere"), folder=tmp_path / "out")
    content = storage.read_json(storage.join(report_uri, "report.json")) | {"format": 9}
    storage.write_json(str(tmp_path / "other" / "report.json"), content)
    with pytest.raises(EvaluationError, match=r"'format'.*reads reports of format 1"):
        regenerate(str(tmp_path / "other"), folder=tmp_path / "out")


def test_texts_and_names_cannot_break_the_page(report):
    detail = report.details[0]
    text = '<script>alert("1")</script> | **bold** `code` $x$'
    error = detail.card.worst_errors[0].model_copy(update={"text": text})
    card = detail.card.model_copy(update={"worst_errors": (error,)})
    changed = report.model_copy(update={"details": (detail.model_copy(update={"card": card}), *report.details[1:])})
    html = render_html(changed)
    assert html.count("<script") == 1
    assert "&lt;script&gt;alert(" in html
    assert cell(text) in render_markdown(changed)


def test_a_markdown_table_keeps_its_columns(report):
    for block in re.findall(r"(?:^\|.*\n)+", render_markdown(report), re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_a_confusion_matrix_is_a_grid_then_a_drawing_then_a_list(report):
    card = report.details[0].card

    def html_of(labels: int, *, kept: bool = True) -> str:
        names = tuple(f"label {number}" for number in range(labels))
        matrix = tuple(
            tuple(int(row == column) * 9 + int(row + 1 == column) for column in range(labels)) for row in range(labels)
        )
        confusion = card.confusion.model_copy(update={"matrix": matrix if kept else None, "labels": names})
        changed = report.details[0].model_copy(update={"card": card.model_copy(update={"confusion": confusion})})
        return render_html(report.model_copy(update={"details": (changed,)}))

    assert '<table class="matrix">' in html_of(GRID_LABELS)
    drawn = html_of(60)
    assert '<table class="matrix">' not in drawn
    assert drawn.count('class="hit"') == 60
    assert drawn.count('class="miss"') == 59
    assert "label 3 answered label 4: 1 (10.0 %)" in drawn
    assert len(drawn.encode()) < 1_000_000
    listed = html_of(200, kept=False)
    assert "Confusion matrix" not in listed
    assert "200 labels are too many" in listed


def test_the_page_stays_small_with_many_labels_and_long_texts(report):
    card = report.details[0].card
    label = card.per_label[0].model_copy(update={"label": "a_label_of_some_length", "f1": 0.5})
    error = card.worst_errors[0].model_copy(update={"text": "x" * 300})
    big = card.model_copy(update={"per_label": (label,) * 1000, "worst_errors": (error,) * 20})
    details = (report.details[0].model_copy(update={"card": big}),) * MAX_DETAILS
    html = render_html(report.model_copy(update={"details": details}))
    assert 1_000_000 < len(html.encode()) < 5_000_000
    assert "The 100 weakest of 1000" in html


def test_intervals_stand_around_their_points_within_the_drawing(report):
    marks = [mark for panel in interval_panels(report) for mark in panel.marks]
    assert len(marks) == 5 * 3, "mean, three tasks and a frame, of three systems"
    for mark in marks:
        assert 0 <= mark.low <= mark.at <= mark.high <= 100


def test_the_scatter_puts_better_higher_and_slower_to_the_right(report):
    first = report.best
    slow = first.model_copy(update={"name": "slow/x", "speed": first.speed.model_copy(update={"p50_ms": 50.0})})
    worst = report.systems[-1].model_copy(update={"speed": first.speed.model_copy(update={"p50_ms": 1.0})})
    drawn = quality_against(report.model_copy(update={"systems": (slow, worst)}), "p50_ms")
    assert drawn.points[0].x > drawn.points[1].x
    assert drawn.points[0].y < drawn.points[1].y
    for point in drawn.points:
        assert point.high_y < point.y < point.low_y <= drawn.frame.bottom


def test_undefined_scores_are_told_and_drawn_nowhere(report):
    undefined = {"value": None, "interval": None, "denominator": 0.0, "note": "undefined"}
    none = report.best.ranked.model_copy(update=undefined)
    rows = tuple(row.model_copy(update={"ranked": none, "mean": none}) for row in report.systems)
    changed = report.model_copy(update={"systems": rows})
    assert quality_against(changed, "p50_ms") is None
    assert "Quality against latency" not in render_html(changed)
    assert "NaN" not in render_html(changed)
    assert render_markdown(changed).count("|") > 50


def test_labels_of_points_cover_no_point_and_no_other_label():
    places = [(20.0, 100.0), (21.0, 104.0), (22.0, 99.0), (80.0, 40.0), (95.0, 41.0)]
    texts = [str(number) for number in range(5)]
    labels = place_labels(texts, places)
    assert labels is not None
    boxes = [
        _box(label.text, x * NARROW / 100 + label.dx, y + label.dy, label.anchor)
        for label, (x, y) in zip(labels, places, strict=True)
    ]
    assert not any(_overlap(one, other) for one, other in itertools.combinations(boxes, 2))


def test_names_that_find_no_room_are_refused_so_that_numbers_take_their_place():
    assert place_labels(["a-very-long-name-of-a-model/merged"] * 9, [(50.0, 100.0)] * 9) is None


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (0.0, 1.0), (0.891, 0.907), (0.0, 0.0), (1.0, 1.0)])
def test_axes_hold_their_values_and_have_a_few_round_ticks(low, high):
    ends, values = linear_axis(low, high)
    assert ends[0] <= low <= high <= ends[1]
    assert ends[0] < ends[1]
    assert 2 <= len(values) <= 7


@pytest.mark.parametrize(("low", "high"), [(3.0, 3.0), (0.01, 5000.0), (12.0, 14.0), (1.0, 9.0)])
def test_latency_axes_hold_their_values(low, high):
    ends, values = log_axis(low, high)
    assert ends[0] < ends[1]
    assert 2.718281828 ** ends[0] <= low * 1.001
    assert 2.718281828 ** ends[1] >= high * 0.999
    assert 1 <= len(values) <= 9


def test_figures_are_written_for_people():
    assert (percent(0.8954), percent(None)) == ("89.5", "\N{EN DASH}")
    assert (points(0.0041), points(-0.01), points(-0.00001)) == ("+0.4", "\N{MINUS SIGN}1.0", "0.0")
    assert (seconds(0.42), seconds(59.6), seconds(303)) == ("0.4 s", "1 min 0 s", "5 min 3 s")
    assert seconds(7800) == "2 h 10 min"
    assert (size(999), size(91_600_000)) == ("999 B", "91.6 MB")


def test_published_scores_stand_beside_ours_with_their_source_and_are_marked(report):
    reference = {
        "task": "intent",
        "system": "Giant-70B",
        "score": 0.908,
        "source": "arXiv 0000.00000",
        "note": "other split",
    }
    config = report.config.model_copy(update={"references": (Reference.model_validate(reference),)})
    changed = report.model_copy(update={"config": config})
    for text in (render_html(changed), render_markdown(changed)):
        assert re.search(r"Giant-70B.*90\.8.*arXiv 0000\.00000.*other split", text)
        assert "not measured here" in text
    assert "Giant" not in render_html(report)


def test_scores_are_told_by_length_of_the_text(report):
    for detail in report.details:
        rows = detail.card.lengths
        assert sum(row.texts for row in rows) == detail.card.examples
        assert all(first.high < second.low for first, second in itertools.pairwise(rows))
        right = sum(row.score.numerator for row in rows)
        assert right == pytest.approx(detail.card.primary_score.numerator)
    assert "By length of the text" in render_html(report)


def test_learning_curves_are_drawn_of_the_jobs_that_learned_in_epochs(report):
    assert learning_curves(report) == ()
    assert "Learning curves" not in render_html(report)
    history = [EpochRecord(epoch=n, loss=1 / n, dev_scores={"intent": 0.5 + n / 10, "topic": 0.7}) for n in (1, 2, 3)]
    searched = [EpochRecord(epoch=1, setting=f"C={c}", dev_scores={"intent": 0.6}) for c in (0.1, 1.0)]
    jobs = tuple(
        job.model_copy(update={"history": tuple(history if job.kind == "encoder" else searched)}) for job in report.jobs
    )
    changed = report.model_copy(update={"jobs": jobs})
    panels = learning_curves(changed)
    assert [panel.task for panel in panels] == ["intent", "topic"]
    assert {curve.job for curve in panels[0].curves} == {job.name for job in jobs if job.kind == "encoder"}
    (line, *_) = panels[0].curves
    assert [point.score for point in line.points] == pytest.approx([0.6, 0.7, 0.8])
    assert line.points[0].y > line.points[1].y > line.points[2].y, "higher is better"
    html = render_html(changed)
    assert "Learning curves" in html
    assert "epoch 2: loss 0.500, intent 70.0" in html
    assert "C=0.1: intent 60.0" in html


def test_what_is_not_in_the_report_is_told_with_the_reason(report):
    told = " ".join(report.left_out)
    assert "linear as merged: not trained, a linear model shares nothing between tasks" in told
    assert "evaluation.margins has none for span_f1" in told
    assert "how far scores vary with the seed is not known" in told
    for line in report.left_out:
        assert cell(line) in render_markdown(report)


def test_texts_are_in_no_file_of_the_report_where_they_are_withheld(make_project):
    project = make_project(report={"texts": "redact"})
    uri = project.benchmark("run-1", project.evaluate_all(skill={"linear": 0.6, "encoder": 0.9}))
    texts = [row.text for dataset in project.datasets.values() for row in dataset.rows("test") if len(row.text) > 12]
    for name in ("report.json", "report.html", "report.md"):
        content = (Path(uri) / name).read_text()
        assert not [text for text in texts if text in content], name
    assert "(withheld)" in (Path(uri) / "report.html").read_text()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium, which lays the page out, is not installed")
@pytest.mark.parametrize("width", [1280, 500])
def test_no_part_of_the_page_is_wider_than_the_screen(report_uri, tmp_path, width):
    """Chromium lays the page out and prints how wide it came to be; tables scroll within themselves."""
    probe = "<script>document.title = `${document.documentElement.scrollWidth} of ${innerWidth}`</script></body>"
    page = tmp_path / "page.html"
    page.write_text((Path(report_uri) / "report.html").read_text().replace("</body>", probe))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={tmp_path / 'user'}"]
    done = subprocess.run(
        ["chromium", *options, f"--window-size={width},900", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found, screen = map(int, re.search(r"<title>(\d+) of (\d+)</title>", done.stdout).groups())
    assert found <= screen <= width


def test_costs_stand_beside_the_prices_that_they_are_made_of(report):
    api = {"kind": "api", "base_url": "https://api.example/v1", "model": "m", "prices_as_of": "2026-11-01"}
    dated = ApiModel.model_validate({**api, "usd_per_million_tokens": {"input": 2.5, "output": 10}})
    config = report.config.model_copy(update={"models": {**report.config.models, "asked": dated}})
    changed = report.model_copy(update={"config": config})
    for text in (render_html(changed), render_markdown(changed).replace("\\", "")):
        assert "linear: $0.5 an hour of cheap" in text
        assert "asked: $2.5 and $10 a million tokens of prompt and answer, as of 2026-11-01" in text
