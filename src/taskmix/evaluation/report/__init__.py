"""The report: `report.json` is the source; HTML and Markdown are rendered from it alone, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

from taskmix import storage
from taskmix.evaluation.report.model import REPORT_FILE, parse_report
from taskmix.evaluation.report.model_card import CARD_FILE, CARDS_FOLDER, render_cards
from taskmix.evaluation.report.render import render_html, render_markdown

HTML_FILE = "report.html"
MARKDOWN_FILE = "report.md"


def regenerate(report: str, *, folder: Path) -> tuple[Path, Path]:
    """Make HTML, Markdown and model cards again from `report.json` on storage; nothing else of the run is read.

    Args:
        report: URI of the report, `<storage>/runs/<run>/report`.
        folder: local; made where absent. The files are written there, since what a run published stays as it is.

    Returns:
        The HTML and the Markdown file.

    Raises:
        NotFound: there is no report.
        EvaluationError: `report.json` is of another format.
    """
    source = storage.join(report, REPORT_FILE)
    folder.mkdir(parents=True, exist_ok=True)
    return write_renderings(storage.read_bytes(source), source=source, folder=folder)


def write_renderings(data: bytes, *, source: str, folder: Path) -> tuple[Path, Path]:
    """Render the bytes of a `report.json` into a local folder.

    Returns:
        The HTML and the Markdown file; beside them lies `cards/<job>/README.md` for each bundle.
    """
    report = parse_report(data, source=source)
    html, markdown = folder / HTML_FILE, folder / MARKDOWN_FILE
    html.write_text(render_html(report), encoding="utf-8")
    markdown.write_text(render_markdown(report), encoding="utf-8")
    for job, card in render_cards(report).items():
        path = folder / CARDS_FOLDER / job / CARD_FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(card, encoding="utf-8")
    return html, markdown
