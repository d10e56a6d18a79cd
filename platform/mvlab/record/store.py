"""MLflow store, opened and put in order before a study begins."""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Experiment, LifecycleStage, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mvlab.record.journal import Journal
from mvlab.record.lock import InUseError, undisturbed
from mvlab.record.open_store import open_store, reaching, sqlite_file
from mvlab.record.process import OWNER_TAG, Process
from mvlab.record.sync_cursor import store_id
from mvlab.record.tags import JOURNAL_FILE_TAG, RUN_TAG
from mvlab.record.tracking import PREFIX, TrackingError
from mvlab.record.waiting import ends_that_wait

KIND = "custom_model_development"
"""Kind of experiment, for the UI: it shows runs and metrics. By default it shows traces and prompts."""
PAGE = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningRun:
    """Run that MLflow calls RUNNING."""

    run_id: str
    name: str
    experiment: str
    owner: Process | None
    """Process that writes it; None if the run is not ours."""
    is_stale: bool
    """True if its process has certainly ended."""
    journal: Path | None
    """File of its journal, if its tags name one."""
    ended_in: Path | None
    """Journal with the end of a stale run, not yet copied to MLflow; None if there is none here."""

    @property
    def is_left(self) -> bool:
        """Tell whether nobody will end it: its process is dead, and its journal has no end of it."""
        return self.is_stale and self.ended_in is None


def connect(uri: str, experiment: str) -> tuple[MlflowClient, str]:
    """Return a client, and the id of the experiment. A new experiment and a local store are made.

    A sqlite store keeps its files in `mlruns` beside it. A server has a place of its own.

    Raises:
        TrackingError: the store at `uri` cannot be used, or the experiment is in its bin.
    """
    client = open_store(uri, may_make=True)
    with reaching(uri):
        found = client.get_experiment_by_name(experiment) or _made(client, experiment, uri)
    if found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise TrackingError(
            f"the MLflow experiment {experiment} was deleted: restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or remove it with `mlflow gc`"
        )
    return client, found.experiment_id


def look_into(uri: str, prefix: str) -> tuple[MlflowClient | None, dict[str, str]]:
    """Return a client, and the ids by name of the experiments whose names begin with `prefix`. None without a store.

    A missing local store is not made here.

    Raises:
        TrackingError: the store at `uri` cannot be used.
    """
    file = sqlite_file(uri)
    if file is not None and not file.exists():
        return None, {}
    client = open_store(uri)
    with reaching(uri):
        return client, _experiments(client, prefix)


def running_runs(
    client: MlflowClient, experiments: Mapping[str, str], *, gone: Container[str] = ()
) -> list[RunningRun]:
    """Return the RUNNING runs of these experiments (ids by name). No process of the hosts `gone` is alive."""
    found = search_all(client, list(experiments.values()), "attributes.status = 'RUNNING'")
    return _described(client, found, experiments, gone)


def close_stale_runs(client: MlflowClient, *, prefix: str = PREFIX, gone: Container[str] = ()) -> list[RunningRun]:
    """End as KILLED the runs that a dead process left RUNNING in experiments whose names begin with `prefix`.

    A process is dead if it ended on this machine, or belongs to a host in `gone`. A run that has ended in its journal
    is left alone: the journal knows the real end, and waits to be copied. A run whose study is being worked on is left
    alone too. Returns the runs that were ended.
    """
    experiments = _experiments(client, prefix)
    by_journal: dict[Path | None, list[str]] = defaultdict(list)
    for seen in running_runs(client, experiments, gone=gone):
        if seen.is_left:
            by_journal[seen.journal].append(seen.run_id)
    closed: list[RunningRun] = []
    for journal, run_ids in by_journal.items():
        with _undisturbed(journal, gone) as is_ours:
            runs = [client.get_run(run_id) for run_id in run_ids if is_ours]  # as they are now
            left = [run for run in _described(client, runs, experiments, gone) if run.is_left]
            for run in left:
                client.set_terminated(run.run_id, status="KILLED")
        closed += left
    return closed


def search_all(client: MlflowClient, experiment_ids: Sequence[str], query: str) -> list[Run]:
    """Return all runs that match, of whatever number."""
    found: list[Run] = []
    token: str | None = None
    while experiment_ids:
        page = client.search_runs(list(experiment_ids), query, max_results=PAGE, page_token=token)
        found += page
        token = page.token or None
        if token is None:
            break
    return found


def _experiments(client: MlflowClient, prefix: str) -> dict[str, str]:
    """Return ids by name."""
    found = client.search_experiments(filter_string=f"name LIKE '{prefix}%'", max_results=PAGE)
    return {each.name: each.experiment_id for each in found}


def _described(
    client: MlflowClient, runs: Sequence[Run], experiments: Mapping[str, str], gone: Container[str]
) -> list[RunningRun]:
    """Describe each run that is RUNNING."""
    names = {experiment_id: name for name, experiment_id in experiments.items()}
    running = [(run, _owner(run)) for run in runs if run.info.status == "RUNNING"]
    stale = {run.info.run_id: run for run, owner in running if owner is not None and owner.is_dead(gone)}
    ended_in = _ended_in(client, list(stale.values()))
    return [
        RunningRun(
            run_id=run.info.run_id,
            name=run.info.run_name,
            experiment=names[run.info.experiment_id],
            owner=owner,
            is_stale=run.info.run_id in stale,
            journal=_journal(run),
            ended_in=ended_in.get(run.info.run_id),
        )
        for run, owner in running
    ]


@contextmanager
def _undisturbed(journal: Path | None, gone: Container[str]) -> Iterator[bool]:
    """Yield True if nobody works on the study of `journal`, nor starts to inside the block."""
    with ExitStack() as stack:
        try:
            if journal is not None and journal.parent.is_dir():  # otherwise nobody here can resume it
                stack.enter_context(undisturbed(journal.parent, gone))
        except (InUseError, OSError):  # in use, or the folder of another user
            yield False
            return
        yield True


def _ended_in(client: MlflowClient, runs: Sequence[Run]) -> dict[str, Path]:
    """Return the journals of runs whose end is not copied yet, by run id."""
    written = {run.info.run_id: (journal, run.info.experiment_id) for run in runs if (journal := _journal(run))}
    ends = {
        (journal, experiment_id): _ends(journal, store_id(client.tracking_uri, experiment_id))
        for journal, experiment_id in set(written.values())
    }
    names = {run.info.run_id: run.data.tags.get(RUN_TAG) for run in runs}
    return {run_id: where[0] for run_id, where in written.items() if names[run_id] in ends[where]}


def _ends(journal: Path, store: str) -> set[str]:
    """Return the runs whose end waits in the journal. Empty if the journal is missing or not readable."""
    try:
        return ends_that_wait(Journal(journal), store) if journal.is_file() else set()
    except (OSError, ValueError, TypeError):
        return set()


def _journal(run: Run) -> Path | None:
    file = run.data.tags.get(JOURNAL_FILE_TAG)
    return Path(file) if file else None


def _owner(run: Run) -> Process | None:
    """Return the owner of a run; None if the tag is missing, or was changed to something else."""
    try:
        return Process.parse(run.data.tags[OWNER_TAG])
    except (KeyError, ValueError):
        return None


def _made(client: MlflowClient, experiment: str, uri: str) -> Experiment:
    """Return the experiment, which was new. Another process may have made it first."""
    file = sqlite_file(uri)
    artifacts = None if file is None else (file.absolute().parent / "mlruns").as_uri()
    try:
        made = client.create_experiment(experiment, artifacts, tags={"mlflow.experimentKind": KIND})
        return client.get_experiment(made)
    except MlflowException:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            raise
        return found
