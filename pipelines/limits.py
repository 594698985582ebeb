"""What every task is given: retries, time, processors, memory, and the settings of the place that it runs in."""

from kfp import dsl, kubernetes

RETRIES = 2
BACKOFF = "300s"
SETTINGS = "vigil-settings"
"""ConfigMap with a key for each variable; what it lacks has its default."""

SECRETS = "vigil-secrets"
SECRETS_FOLDER = "/etc/vigil/secrets"
"""Where keys and passwords lie; the settings name the files."""

VARIABLES = (
    "VIGIL_STORE",
    "VIGIL_TRACKING_URI",
    "VIGIL_REDIS_URL",
    "VIGIL_SIGNING_KEY",
    "VIGIL_PUBLIC_KEY",
    "VIGIL_MAIL_SERVER",
    "VIGIL_MAIL_FROM",
    "VIGIL_MAIL_TO",
    "VIGIL_MAIL_SECURITY",
    "VIGIL_MAIL_USER",
    "VIGIL_MAIL_PASSWORD_FILE",
    "VIGIL_LOG_LEVEL",
    "VIGIL_LOG_JSON",
    "STORAGE_EMULATOR_HOST",  # where gs:// is an emulator
)


def small(task: dsl.PipelineTask, title: str) -> dsl.PipelineTask:
    """Return the task with a name and what light work takes."""
    return _limited(task, title, memory=("512Mi", "2Gi"), minutes=30)


def large(task: dsl.PipelineTask, title: str) -> dsl.PipelineTask:
    """Return the task with a name and what work on the whole data takes."""
    return _limited(task, title, memory=("2Gi", "8Gi"), minutes=120)


def _limited(task: dsl.PipelineTask, title: str, memory: tuple[str, str], minutes: int) -> dsl.PipelineTask:
    task.set_display_name(title)
    task.set_retry(num_retries=RETRIES, backoff_duration=BACKOFF, backoff_factor=1.0, backoff_max_duration=BACKOFF)
    task.set_cpu_request("500m").set_cpu_limit("2")
    task.set_memory_request(memory[0]).set_memory_limit(memory[1])
    kubernetes.set_timeout(task, minutes * 60)
    kubernetes.use_config_map_as_env(task, SETTINGS, {name: name for name in VARIABLES}, optional=True)
    return task


def with_effect(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Return the task, which is never answered from the cache, with the keys and passwords of the place."""
    task.set_caching_options(enable_caching=False)
    return kubernetes.use_secret_as_volume(task, SECRETS, SECRETS_FOLDER, optional=True)
