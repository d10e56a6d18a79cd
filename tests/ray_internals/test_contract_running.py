"""Contract with Ray while it runs: how far a reader gets ahead, what an executor holds, where a hook runs."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.data
import ray.train
from ray import cloudpickle
from ray.data import DataContext
from ray.train.torch import TorchTrainer
from ray_internals.numbered import BLOCKS, Numbered

from mvlab.ray_internals import cluster as cluster_internals
from mvlab.ray_internals import pace, train
from mvlab.ray_internals.process_group import ProcessGroup
from mvlab.ray_internals.train import WorkerCallback, is_machine_going

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("cluster")]

AHEAD = 3
"""One block waits to be taken, and the reader holds two."""

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import a test


def numbered(notes: Path) -> ray.data.Dataset:
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1
    notes.mkdir()
    return ray.data.read_datasource(Numbered(notes), override_num_blocks=1, num_cpus=0, concurrency=1)


def test_a_reader_is_few_blocks_ahead_of_its_consumer(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    blocks = pace.start_at_pace(numbered(notes), BLOCKS)
    for taken in range(1, BLOCKS + 1):
        assert next(blocks)["number"].to_pylist() == [taken - 1]
        if taken in (1, 4):
            time.sleep(2)  # as many as may be are made by then
            assert taken < len(list(notes.iterdir())) <= taken + AHEAD
    assert next(blocks, None) is None
    assert DataContext.get_current().custom_execution_callback_classes == [], "other data sets go as they did"


def test_an_executor_holds_what_is_asked_of_it(tmp_path: Path) -> None:
    dataset = numbered(tmp_path / "notes")
    pace._configure(dataset.context)
    bundles, _, executor = dataset._execute_to_iterator(capture_executor=False)
    assert [type(each) for each in executor._callbacks].count(pace.Pace) == 1
    assert isinstance(executor._metadata_fetcher, pace.InlineMetadataFetcher)
    source, last = executor._topology
    assert last.input_dependencies == [source], "the last of a topology is what the consumer reads from"
    [task] = last.get_active_tasks()
    assert ray.wait([task.get_waitable()], timeout=10, fetch_local=False)[0]
    assert len([*bundles]) == BLOCKS


def test_the_head_and_what_is_free_of_each_machine_are_known() -> None:
    [node] = ray.nodes()
    assert node["Resources"][cluster_internals.HEAD] == 1.0
    assert cluster_internals.available_resources_per_node()[node["NodeID"]]["CPU"] == 2.0


class Noted(WorkerCallback):
    """Names the thread that it is called in."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def after_init_train_context(self) -> None:
        self.file.write_text(str(threading.current_thread() is threading.main_thread()))


def ask() -> tuple[bool, bool]:
    return threading.current_thread() is threading.main_thread(), is_machine_going()


def test_a_workers_hook_runs_in_its_main_thread_and_no_machine_is_going(tmp_path: Path) -> None:
    file = tmp_path / "main"
    result = TorchTrainer(
        ask,
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(name="asked", storage_path=str(tmp_path), callbacks=[Noted(file)]),  # type: ignore[list-item]
    ).fit()
    assert file.read_text() == "True"
    assert result.return_value == (False, False), "what trains runs in another thread"


class Refusing(train.WorkerGroupCallback):
    """Callback that fails when all workers are there."""

    def after_worker_group_start(self, worker_group: Any) -> None:
        raise ArithmeticError("as where the ranks' process group cannot be made")


def fit(folder: Path, callbacks: list[Any]) -> str:
    """Return what the workers return, or the failure of their start."""
    scaling: Any = ray.train.ScalingConfig
    running: Any = ray.train.RunConfig
    trainer = train.LeanTrainer(
        lambda: "trained",
        backend_config=ProcessGroup(),
        scaling_config=scaling(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=running(storage_path=str(folder), callbacks=callbacks),
    )
    try:
        return str(trainer.fit().return_value)  # type: ignore[attr-defined]
    except ray.train.ControllerError as error:
        return str(error.controller_failure)


@ray.remote(num_cpus=0)
class Watcher:
    """Process that starts one group of workers after the other."""

    def fit(self, folder: Path, callbacks: list[Any]) -> str:
        with ThreadPoolExecutor(1) as beside:
            return beside.submit(fit, folder, callbacks).result()

    def modules(self) -> list[str]:
        return [name for name in ("torch", "scipy") if name in sys.modules]


def test_a_group_whose_start_fails_leaves_room_for_the_next_and_its_watcher_needs_no_torch(tmp_path: Path) -> None:
    """Both want all CPUs there are."""
    watcher = Watcher.remote()
    assert "process group cannot be made" in ray.get(watcher.fit.remote(tmp_path, [Refusing()]))
    assert ray.get(watcher.fit.remote(tmp_path, [])) == "trained"
    assert ray.get(watcher.modules.remote()) == []
