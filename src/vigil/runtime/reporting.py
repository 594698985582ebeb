"""A revision, as `vigil status` and the admin API show it."""

from vigil.runtime.revision import Revision
from vigil.runtime.splitter.counts import Counts
from vigil.runtime.status import RevisionSpec, RevisionStatus, Served, State


def revision_status(spec: RevisionSpec, running: Revision | None, traffic: float) -> RevisionStatus:
    """Return how a revision stands; one that is not running is stopped."""
    known = {
        "name": spec.name,
        "model": spec.model,
        "version": spec.version,
        "bundle": spec.bundle,
        "uri": spec.uri,
        "shadow": spec.shadow,
        "awaits": spec.awaits,
        "created": spec.created,
        "traffic": traffic,
    }
    if running is None:
        return RevisionStatus(**known, state=State.STOPPED)
    return RevisionStatus(
        **known,
        state=running.state,
        processes=running.processes(),
        restarts=running.restarts,
        ready_since=running.ready_since,
        served=served(running.target.counts),
        why=running.why,
    )


def served(counts: Counts) -> Served:
    """Return the counts of a revision in the form of the admin API."""
    return Served(
        requests=counts.requests,
        errors=counts.errors,
        by_code={f"{protocol} {code}": count for (protocol, code), count in sorted(counts.answers.items())},
        mirrored=dict(sorted(counts.mirrored.items())),
        p50_seconds=counts.latency.quantile(0.5),
        p99_seconds=counts.latency.quantile(0.99),
        latency=list(counts.latency.buckets),
    )
