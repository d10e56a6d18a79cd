"""Data of a run, as MLflow's dataset inputs."""

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from mlflow.utils.validation import MAX_DATASET_DIGEST_SIZE

from mvlab.record.journal import DataUse
from mvlab.record.limits import MAX_DATASET_NAME, cut


def dataset_inputs(uses: Sequence[DataUse]) -> list[DatasetInput]:
    """Return one input for each use. A store keeps inputs of the same name and digest once, and so does a run.

    MLflow limits names and digests; the profile has the whole digest.
    """
    inputs = []
    for use in uses:
        scheme = urlsplit(use.uri).scheme
        dataset = Dataset(
            name=cut(use.name, MAX_DATASET_NAME, note="…"),
            digest=use.digest[:MAX_DATASET_DIGEST_SIZE],
            source_type="local" if scheme in ("", "file") else scheme,
            source=json.dumps({"uri": use.uri}),
            profile=json.dumps({"num_samples": use.num_samples, "digest": use.digest}),
        )
        inputs.append(DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, use.context)]))
    return inputs
