"""The gates judge the evidence."""

from kfp import dsl

from components.base import component


@component
def apply_gates(
    use_case: str,
    evaluation: dsl.Input[dsl.Artifact],
    verdicts: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.Markdown],
    report: dsl.Output[dsl.HTML],
) -> str:
    """Return `promote`, `ship_member` or `reject`; the page gives each gate's reason."""
    from vigil.training import steps

    decision, found = steps.apply_gates(use_case, evaluation.path, verdicts.path, page.path, report.path)
    verdicts.metadata.update(found)
    return decision
