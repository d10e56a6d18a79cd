"""Find and mend what dead processes left behind, in MLflow and in the storage."""

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mvlab.masking import masked
from mvlab.record.journal import SWEEP, Event, Journal, Status
from mvlab.record.lock import ENTRY, InUseError, locked, owner_of
from mvlab.record.mlflow_sink import MlflowSink
from mvlab.record.process import Process
from mvlab.record.store import RunningRun, close_stale_runs, connect, look_into, running_runs
from mvlab.record.sync_cursor import read_carried, store_id
from mvlab.record.tracking import PREFIX, TrackingError, mlflow_experiment
from mvlab.record.waiting import waiting
from mvlab.report.tags import COMMAND_TAG
from mvlab.study.run.folder import JOURNAL, STUDY

SECONDS_FOR_THE_RECORD = 120.0
"""Longest wait for a store that does not answer, for each journal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something that may need attention."""

    what: str
    where: str
    state: str
    is_wrong: bool
    """True for damage. False for what may well be as intended: it is shown, and left alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IdleStudy:
    """Study in the storage that no living process of this machine works on."""

    folder: Path
    experiment: str
    """Name of its experiment in MLflow."""
    elsewhere: Process | None
    """Process of another machine or container that works on it, or did. Its state is unknown here."""
    status: Status | None
    """Status of the sweep; None if it has not ended."""
    open_runs: tuple[str, ...]
    """Runs that began and have not ended in the journal."""
    num_behind: int
    """Number of events of the journal that are in no store."""
    num_refused: int
    """Number of these events that their store refused."""
    is_of_other_store: bool
    """True if the journal is copied to another store than the one that was looked into."""
    leftovers: tuple[Path, ...]
    """Files and folders that its processes had not finished writing."""
    command: str
    """Command that resumes it."""

    @property
    def is_left(self) -> bool:
        """True if there is something to mend, and the process that left it was not on another machine."""
        return not self.elsewhere and bool(self.open_runs or self.num_behind or self.leftovers)


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """State of the store and the storage, neither of which was changed."""

    uri: str
    running: tuple[RunningRun, ...]
    studies: tuple[IdleStudy, ...]
    leftovers: tuple[Path, ...]
    """Files and folders of unfinished data sets."""
    gone: tuple[str, ...] = ()
    """Hosts that are gone for good. Their processes count as dead."""
    stores: Mapping[str, str] = field(default_factory=dict)
    """MLflow experiment -> its id in the store, see `store_id`."""


def diagnose(uri: str, storage: Path, *, gone: Sequence[str] = ()) -> Diagnosis:
    """Look into the store at `uri` and the folder `storage`; change nothing. Processes of `gone` hosts count as dead.

    Raises:
        NotADirectoryError: there is no folder `storage`.
        TrackingError: nothing answers at `uri`.
    """
    if not storage.is_dir():
        raise NotADirectoryError(
            f"`storage` {storage}: there is no such folder; name the one that studies were kept in"
        )
    client, experiments = look_into(uri, PREFIX)
    stores = {name: store_id(client.tracking_uri, each) for name, each in experiments.items()} if client else {}
    folders = sorted(path.parent for path in storage.absolute().glob(f"*/*/{STUDY}"))
    return Diagnosis(
        uri=uri,
        running=tuple(running_runs(client, experiments, gone=gone)) if client else (),
        studies=tuple(_study(folder, stores, gone) for folder in folders if not _is_worked_on(folder, gone)),
        leftovers=tuple(sorted((storage / "datasets").glob("*.partial*"))),
        gone=tuple(gone),
        stores=stores,
    )


def findings(diagnosis: Diagnosis) -> list[Finding]:
    """Return the findings of a diagnosis, damage first."""
    found = [_of_run(run) for run in diagnosis.running if run.owner is None or run.is_stale or run.owner.is_foreign]
    for study in diagnosis.studies:
        found += _of_study(study, masked(diagnosis.uri))
    for path in diagnosis.leftovers:
        state = "a data set that was not finished: remove it, unless it is just being written"
        found.append(Finding(what="data set", where=str(path), state=state, is_wrong=False))
    return sorted(found, key=lambda each: not each.is_wrong)


def mend(diagnosis: Diagnosis) -> list[str]:
    """End open runs of dead processes, copy waiting events to MLflow, and remove unfinished files of studies.

    Time has passed since the diagnosis. So each study is locked and examined again, and what is found then is mended.
    Studies and runs of other machines are left alone. Returns what was done, in lines.
    """
    done = [line for study in diagnosis.studies if study.is_left for line in _mended(study, diagnosis)]
    client, _ = look_into(diagnosis.uri, PREFIX)
    if client:  # after the journals: they may hold the real status instead of KILLED
        closed = Counter(run.experiment for run in close_stale_runs(client, gone=diagnosis.gone))
        for name, num_closed in closed.items():
            done.append(f"{name}: {_count(num_closed, 'run')} of dead processes closed as KILLED in MLflow")
    return done


def resume_command(command: str, folder: Path) -> str:
    """Return `command`, which began or resumed a study, with the option to resume the study in `folder`."""
    words = shlex.split(command)
    kept: list[str] = []
    for index, word in enumerate(words):
        is_value = index > 0 and words[index - 1] == "--resume" and not word.startswith("-")
        if not (is_value or word == "--resume" or word.startswith("--resume=")):
            kept.append(word)
    return shlex.join([*kept, "--resume", str(folder)])


def _of_run(run: RunningRun) -> Finding:
    state = "RUNNING, and no process is recorded as its writer"
    if run.owner is not None:
        state = f"RUNNING on {run.owner.where}, which cannot be checked from here{_if_gone(run.owner)}"
    if run.is_stale:
        state = "RUNNING, and its process is dead"
    if run.ended_in is not None:
        state += f"; its end is in {run.ended_in}, which is not copied to MLflow yet"
    return Finding(what="run in MLflow", where=f"{run.experiment}: {run.name}", state=state, is_wrong=run.is_stale)


def _of_study(study: IdleStudy, uri: str) -> Iterator[Finding]:
    where = str(study.folder)
    if study.elsewhere:
        if study.open_runs or study.num_behind:
            state = f"{study.elsewhere.where} works on it, or did: its state cannot be checked from here"
            yield Finding(what="study", where=where, state=state + _if_gone(study.elsewhere), is_wrong=False)
        return
    if study.open_runs:
        state = f"its process died; {_count(len(study.open_runs), 'run')} did not end: {', '.join(study.open_runs)}"
        yield Finding(what="study", where=where, state=state, is_wrong=True)
    if study.status in (None, "KILLED"):
        yield Finding(what="study", where=where, state=f"can be resumed: {study.command}", is_wrong=False)
    if study.num_behind:
        state = f"{_count(study.num_behind, 'event')} not in MLflow yet"
        if study.num_refused:
            state += f"; it refused {study.num_refused:,} of them"
        if study.is_of_other_store:
            state += f", and their store is not {uri}: name it with `tracking_uri`"
        yield Finding(what="record", where=where, state=state, is_wrong=True)
    if study.leftovers:
        names = ", ".join(path.name for path in study.leftovers)
        yield Finding(
            what="leftovers", where=where, state=f"not finished when its process died: {names}", is_wrong=True
        )


def _mended(study: IdleStudy, diagnosis: Diagnosis) -> list[str]:
    done: list[str] = []
    try:
        with locked(study.folder, diagnosis.gone):
            done += _mend_study(_study(study.folder, diagnosis.stores, diagnosis.gone), diagnosis.uri)
    except (InUseError, OSError) as error:  # another process was first, the folder is gone, or a disk is full
        done.append(f"{study.folder} was left{' as it is now' if done else ' alone'}: {error}")
    return done


def _mend_study(study: IdleStudy, uri: str) -> Iterator[str]:
    """Mend a study, and yield lines on it. The caller holds the study's lock."""
    journal = Journal(study.folder / JOURNAL)
    if study.open_runs:
        for run in study.open_runs:
            journal.append(Event(run=run, kind="end", status="KILLED"))
        yield f"{study.folder}: {_count(len(study.open_runs), 'run')} ended as KILLED"
    if (study.num_behind or study.open_runs) and not study.is_of_other_store:
        try:
            recorded = MlflowSink(journal, *connect(uri, study.experiment)).close(SECONDS_FOR_THE_RECORD)
        except TrackingError as error:
            yield f"{study.folder}: the journal was not copied to MLflow: {error}"
        else:
            yield f"{study.folder}: the journal is {'' if recorded else 'not wholly '}in MLflow, {masked(uri)}"
    for path in study.leftovers:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if study.leftovers:
        yield f"{study.folder}: {_count(len(study.leftovers), 'unfinished file')} removed"


def _study(folder: Path, stores: Mapping[str, str], gone: Sequence[str]) -> IdleStudy:
    """Examine the study in `folder`. `stores`: the id of each experiment in the store that is looked into."""
    described = json.loads((folder / STUDY).read_text(encoding="utf-8"))
    journal, owner = Journal(folder / JOURNAL), _owner(folder)
    carried = read_carried(journal.path)
    experiment = mlflow_experiment(described["experiment"], described.get("task", "classification"))
    commands = [event.tags[COMMAND_TAG] for event in journal.events() if COMMAND_TAG in event.tags]
    general = f"the job of {described['experiment']} with --scale {described['scale']} --resume {folder}"
    unfinished = sorted(path for path in folder.rglob("*.partial*") if path != folder / ENTRY)
    return IdleStudy(
        folder=folder,
        experiment=experiment,
        elsewhere=owner if owner and owner.is_foreign and not owner.is_dead(gone) else None,
        status=journal.statuses().get(SWEEP),
        open_runs=tuple(journal.open_runs()),
        num_behind=len(waiting(journal)),
        num_refused=len(carried.refused),
        is_of_other_store=bool(carried.store) and carried.store != stores.get(experiment),
        leftovers=tuple(path for path in unfinished if not any(other in path.parents for other in unfinished)),
        command=resume_command(commands[-1], folder) if commands else general,
    )


def _is_worked_on(folder: Path, gone: Sequence[str]) -> bool:
    """Tell whether a living process of this machine works on the study."""
    owner = _owner(folder)
    return owner is not None and not owner.is_foreign and not owner.is_dead(gone)


def _owner(folder: Path) -> Process | None:
    """Return the process that works on the study, or did. None also if it was killed before it wrote its identity."""
    try:
        return owner_of(folder)
    except ValueError:
        return None


def _if_gone(process: Process) -> str:
    return f"; if that is gone for good, name it with `host` {process.host}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def num_wrong(found: Sequence[Finding]) -> int:
    """Return the number of findings that are wrong."""
    return sum(each.is_wrong for each in found)
