"""Checkpoint of a recorded run, fetched to be packaged, and packages logged back to the run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mvlab.masking import masked
from mvlab.record.open_store import open_store
from mvlab.record.tracking import TrackingError, first_line
from mvlab.training.checkpoint_files import FILE as CHECKPOINT

VERIFICATION = "verification.json"
"""File beside the package that it verifies. A job's own is at the root of its run's artifacts."""
LATER = "packages"
"""Artifact folder of packages made later. Each is in a folder of its own, with its verification."""


def recorded_classes(verification: Path) -> tuple[str, ...]:
    """Return a run's class names, as its job wrote them beside the package; none if it did not."""
    if not verification.is_file():
        return ()
    recorded = json.loads(verification.read_text(encoding="utf-8"))
    return tuple(recorded.get("classes") or (recorded.get("package") or {}).get("labels", ()))


class RecordedRun:
    """Finished run in an MLflow store."""

    def __init__(self, tracking_uri: str, run_id: str) -> None:
        """Open the store.

        Raises:
            TrackingError: the store cannot be read, or has no such run.
        """
        self.uri, self.run_id = tracking_uri, run_id
        self.client = open_store(tracking_uri)
        with self._reaching("cannot be read from"):
            self.client.get_run(run_id)

    def checkpoint(self, folder: Path) -> Path:
        """Download the run's last checkpoint into `folder`; return its path.

        Raises:
            TrackingError: it cannot be read, or the run has none because it did not finish.
        """
        checkpoint = self._fetched(CHECKPOINT, folder)
        if checkpoint is None:
            raise TrackingError(f"run {self.run_id} has no {CHECKPOINT}: it is not a finished run of mvlab")
        return checkpoint

    def classes(self, folder: Path) -> tuple[str, ...]:
        """Return the class names, as the run's job wrote them; none if it did not.

        Raises:
            TrackingError: they cannot be read.
        """
        verification = self._fetched(VERIFICATION, folder)
        return () if verification is None else recorded_classes(verification)

    def log(self, package: Path, verification: Path) -> str:
        """Log the package, and the content of the folder `verification`; return the artifact folder of both.

        It is never the folder of the run's own package, which the run's tags describe.

        Raises:
            TrackingError: they cannot be written.
        """
        folder = f"{LATER}/{package.stem}"
        with self._reaching(f"cannot be given {package.name} in"):
            self.client.log_artifacts(self.run_id, str(package), f"{folder}/{package.name}")
            self.client.log_artifacts(self.run_id, str(verification), folder)
        return folder

    def _fetched(self, artifact: str, folder: Path) -> Path | None:
        with self._reaching(f"has no {artifact} that can be read from"):
            if artifact not in {each.path for each in self.client.list_artifacts(self.run_id)}:
                return None
            return Path(self.client.download_artifacts(self.run_id, artifact, str(folder)))

    @contextmanager
    def _reaching(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # MLflow, requests and SQLAlchemy have errors of their own
            raise TrackingError(
                f"run {self.run_id} {what} MLflow at {masked(self.uri)}: {first_line(error, self.uri)}"
            ) from error
