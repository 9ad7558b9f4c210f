"""Every configuration of the repository is right."""

from __future__ import annotations

from pathlib import Path

from taskmix.config.load import load_config
from taskmix.config.plan import make_plan


def test_every_configuration_validates(project_root: Path) -> None:
    paths = sorted((project_root / "configs").rglob("*.y*ml"))
    assert [path.name for path in paths] == [
        "massive.yaml",
        "newsgroups.yaml",
        "paper-mini.yaml",
        "paper.yaml",
        "quickstart.yaml",
    ]
    for path in paths:
        plan = make_plan(load_config(path))
        assert plan.config.name == path.stem
        assert {system.grouping for system in plan.systems} == set(plan.config.groupings)


def test_every_configuration_says_how_it_is_run(project_root: Path) -> None:
    for path in sorted((project_root / "configs").rglob("*.y*ml")):
        comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert f"#   taskmix run {path.relative_to(project_root)}" in comments


def test_small_matrix_is_the_papers_matrix(project_root: Path) -> None:
    paper, mini = (
        make_plan(load_config(project_root / "configs" / f"{name}.yaml")) for name in ("paper", "paper-mini")
    )
    assert [system.name for system in mini.systems] == [system.name for system in paper.systems]
    assert mini.config.tasks == paper.config.tasks
    for name, model in mini.config.models.items():
        assert model.kind == paper.config.models[name].kind
        if model.kind != "api":
            assert model.tuning == paper.config.models[name].tuning  # type: ignore[union-attr]
            assert model.checkpoint is None, "random weights: nothing is downloaded"  # type: ignore[union-attr]
