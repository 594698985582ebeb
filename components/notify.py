"""Somebody is told how the run ended."""

from kfp import dsl

from components.base import component


@component
def notify(status: dsl.PipelineTaskFinalStatus, cause: str, where: str, on_success: bool) -> str:
    """Mail that the run failed, or with `on_success` that it succeeded; return what was done."""
    from vigil.orchestration.notify import RunEnd, notify_run
    from vigil.training.steps import begin

    end = RunEnd(
        state=status.state,
        run=status.pipeline_job_resource_name,
        cause=cause,
        error=status.error_message or "",
        where=where,
    )
    return notify_run(end, on_success=on_success, settings=begin()).value
