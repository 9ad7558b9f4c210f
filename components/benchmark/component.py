"""The step that puts jobs together into systems and compares them in one report."""

from kfp.dsl import HTML, Markdown, Output


def benchmark(
    title: str, config: str, run: str, evaluations: list[str], html: Output[HTML], markdown: Output[Markdown]
) -> str:
    """URI of the report."""
    from taskmix_components.step import step

    with step(title):
        from taskmix.config.schema import Config
        from taskmix.evaluation import benchmark
        from taskmix_components.artifacts import copy_report

        uri = benchmark.benchmark(Config.model_validate_json(config), run=run, evaluations=evaluations)
        copy_report(html, markdown, uri)
    return uri
