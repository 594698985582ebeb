"""The parts of the rerun put together from the settings."""

from vigil.errors import ContractError
from vigil.rerun.follow import Rollouts
from vigil.rerun.journal import Journal
from vigil.rerun.launcher import Launcher
from vigil.rerun.settings import LauncherKind, RerunSettings, Then
from vigil.rerun.worker import Desk, Worker
from vigil.settings import Settings


def open_journal(settings: Settings) -> Journal:
    """Return the journal in VIGIL_HOME/rerun."""
    return Journal(settings.home.absolute() / "rerun")


def launcher_kind(settings: Settings, told: RerunSettings) -> LauncherKind:
    """Return where runs take place."""
    return told.launcher or (LauncherKind.KUBEFLOW if settings.kfp_host else LauncherKind.LOCAL)


def open_launcher(settings: Settings, told: RerunSettings) -> Launcher:
    """Return the launcher that the settings ask for."""
    if launcher_kind(settings, told) is LauncherKind.LOCAL:
        from vigil.rerun.here import Here

        return Here(settings, told)
    if not settings.kfp_host:
        raise ContractError("the launcher kubeflow needs a server: set VIGIL_KFP_HOST")
    for name, rules in {"defaults": told.defaults, **told.models}.items():
        if rules.then is Then.ROLLOUT:
            raise ContractError(
                f"{name}: `then: rollout` is for runs on this machine; on a server take `deploy` or `nothing`, and "
                "start the rollout by `vigil rollout --target kserve start`"
            )
    from vigil.rerun.there import There

    return There(settings, told)


def open_desk(settings: Settings, told: RerunSettings) -> Desk:
    """Return what takes events in."""
    return Desk(open_journal(settings), told)


def open_worker(settings: Settings, told: RerunSettings) -> Worker:
    """Return what starts and watches the runs."""
    worker = Worker(open_journal(settings), told, open_launcher(settings, told), settings.sinks)
    if launcher_kind(settings, told) is LauncherKind.LOCAL:
        worker.follow_up = Rollouts(settings, told)
    return worker
