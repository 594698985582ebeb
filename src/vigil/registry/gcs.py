"""A store in a bucket of Google Cloud Storage. Imported only where a `gs://` address is used.

Creating with `if_generation_match=0` is the bucket's compare-and-swap: the second one to create an object is told. A
service account with `roles/storage.objectCreator` and `roles/storage.objectViewer` is enough: it cannot overwrite or
delete what was written.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vigil.errors import ContractError, MissingExtra, Unavailable

try:
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth
    from google.cloud import storage
except ImportError as error:
    raise MissingExtra("google-cloud-storage", "train") from error

_UNAVAILABLE = (api.GoogleAPICallError, api.RetryError, auth.GoogleAuthError, storage.exceptions.InvalidResponse)

REQUEST_SECONDS = 30.0
"""After this long without an answer a request is tried again."""

RETRY_SECONDS = 60.0
"""How long a call is tried again before it is given up as Unavailable."""


class GcsStore:
    """A store in `gs://bucket/prefix`, with the application default credentials (or STORAGE_EMULATOR_HOST)."""

    def __init__(self, bucket: str, prefix: str = "", *, retry_seconds: float = RETRY_SECONDS) -> None:
        if not bucket:
            raise ContractError("gs:// names no bucket: give gs://bucket/prefix")
        self._prefix = f"{prefix}/" if prefix else ""
        self.uri = f"gs://{bucket}/{prefix}".rstrip("/")
        self._calls: dict[str, Any] = {
            "timeout": REQUEST_SECONDS,
            "retry": storage.retry.DEFAULT_RETRY.with_timeout(retry_seconds),
        }
        with _translated(self.uri):
            self._bucket = storage.Client(project=None).bucket(bucket)

    def create(self, path: str, content: bytes | Path) -> bool:
        """Upload with a checksum, in resumable chunks above 8 MiB; a retry that meets its own upload returns False."""
        blob = self._bucket.blob(self._prefix + path)
        with _translated(f"{self.uri}/{path}"):
            try:
                if isinstance(content, Path):
                    blob.upload_from_filename(str(content), if_generation_match=0, checksum="crc32c", **self._calls)
                else:
                    blob.upload_from_string(content, if_generation_match=0, checksum="crc32c", **self._calls)
            except api.PreconditionFailed:
                return False
        return True

    def read(self, path: str) -> bytes:
        """Return the content of the object, its checksum checked."""
        with _translated(f"{self.uri}/{path}"):
            content: bytes = self._bucket.blob(self._prefix + path).download_as_bytes(**self._calls)
        return content

    def fetch(self, path: str, target: Path) -> None:
        """Download the object, its checksum checked."""
        with _translated(f"{self.uri}/{path}"):
            self._bucket.blob(self._prefix + path).download_to_filename(str(target), **self._calls)

    def paths(self, folder: str) -> list[str]:
        """Return the names of the objects below `folder`, without the placeholders that consoles make for folders."""
        prefix = self._prefix + (f"{folder.strip('/')}/" if folder.strip("/") else "")
        with _translated(f"{self.uri}/{folder}"):
            names = [blob.name for blob in self._bucket.list_blobs(prefix=prefix, **self._calls)]
        return sorted(name.removeprefix(self._prefix) for name in names if not name.endswith("/"))


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    """Sort the errors of the client by who has to act."""
    try:
        yield
    except api.NotFound as error:
        raise ContractError(f"{uri} does not exist") from error
    except (api.Forbidden, api.Unauthorized) as error:
        raise ContractError(f"no permission for {uri}: grant the service account access to the bucket") from error
    except auth.DefaultCredentialsError as error:
        raise ContractError(f"no credentials for {uri}: run gcloud auth application-default login") from error
    except (api.BadRequest, ValueError) as error:
        raise ContractError(f"{uri} is refused by Cloud Storage: {error}") from error
    except storage.exceptions.DataCorruption as error:
        raise Unavailable(f"{uri} arrived with a wrong checksum: try again") from error
    except (*_UNAVAILABLE, OSError) as error:
        raise Unavailable(f"{uri} does not answer: {type(error).__name__}; try again later") from error
