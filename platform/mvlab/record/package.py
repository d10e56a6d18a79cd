"""A recorded run's checkpoint, fetched to make a package of, and the package logged back to the run."""

import json
import re
from pathlib import Path

from mlflow.tracking import MlflowClient

from mvlab.record.tracking import TrackingError, first_line, redacted
from mvlab.training.state import FILE as CHECKPOINT

RUN_ID = re.compile(r"[0-9a-f]{32}")
VERIFICATION = "verification.json"
"""Of the package that a job makes of every run."""


class RecordedRun:
    """A finished run of an MLflow store."""

    def __init__(self, tracking_uri: str, run_id: str) -> None:
        """
        Raises:
            TrackingError: the store cannot be read, or has no such run.
        """
        self.uri, self.run_id = tracking_uri, run_id
        self.client = MlflowClient(tracking_uri=tracking_uri)
        try:
            self.client.get_run(run_id)
        except Exception as error:  # MLflow, requests and SQLAlchemy each have their own
            raise TrackingError(
                f"run {run_id} cannot be read from MLflow at {redacted(tracking_uri)}: {first_line(error)}"
            ) from error

    def checkpoint(self, folder: Path) -> Path:
        """The run's last checkpoint, in `folder`.

        Raises:
            TrackingError: the run recorded none: it did not finish.
        """
        if CHECKPOINT not in {each.path for each in self.client.list_artifacts(self.run_id)}:
            raise TrackingError(f"run {self.run_id} has no {CHECKPOINT}: it is no finished run of a job of ours")
        return Path(self.client.download_artifacts(self.run_id, CHECKPOINT, str(folder)))

    def labels(self, folder: Path) -> tuple[str, ...]:
        """Of its classes, as its own package has them; none where it has no package."""
        if VERIFICATION not in {each.path for each in self.client.list_artifacts(self.run_id)}:
            return ()
        recorded = json.loads(Path(self.client.download_artifacts(self.run_id, VERIFICATION, str(folder))).read_text())
        return tuple(recorded["package"]["labels"])

    def log(self, package: Path, verification: Path) -> None:
        """The package, and what came out when it was run, under their own names."""
        self.client.log_artifacts(self.run_id, str(package), package.name)
        self.client.log_artifact(self.run_id, str(verification))
