"""Each internal of Ray that is used still exists, with the signature and the attributes relied on. No cluster."""

import inspect
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import ray.train
from ray.air import constants as air_constants
from ray.data import DataContext
from ray.data._internal.execution.backpressure_policy import get_backpressure_policies
from ray.data._internal.execution.interfaces.physical_operator import OpTask
from ray.data._internal.execution.metadata_fetcher import MetadataFetcher
from ray.data._internal.execution.streaming_executor_state import OpBufferQueue
from ray.train.torch import TorchTrainer
from ray.train.v2._internal import constants as train_constants
from ray.train.v2._internal.execution.context import TrainContext
from ray.train.v2._internal.execution.preemption import PreemptionContext
from ray.train.v2._internal.execution.worker_group import WorkerGroupContext
from ray.train.v2.api.callback import RayTrainCallback
from ray.tune import constants as tune_constants
from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.utils.callback import _create_default_callbacks

from mvlab.ray_internals import cluster, environment, key_value, pace, process_group, statistics, train, tune


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (pace.ExecutionCallback.before_execution_starts, ["self", "executor"]),
        (pace.ExecutionCallback.on_execution_step, ["self", "executor"]),
        (pace.StreamingExecutor.set_external_consumer_bytes, ["self", "num_bytes"]),
        (pace.BackpressurePolicy.max_task_output_bytes_to_read, ["self", "op"]),
        (pace.PhysicalOperator.get_active_tasks, ["self"]),
        (OpTask.get_waitable, ["self"]),
        (OpBufferQueue.has_next, ["self", "output_split_idx"]),
        (key_value._internal_kv_put, ["key", "value", "overwrite", "namespace"]),
        (key_value._internal_kv_get, ["key", "namespace"]),
        (key_value._internal_kv_list, ["prefix", "namespace"]),
        (key_value._internal_kv_del, ["key", "del_by_prefix", "namespace"]),
        (cluster.available_resources_per_node, []),
        (cluster.read_ray_address, ["temp_dir"]),
        (pace.StreamingExecutor.shutdown, ["self", "force", "exception"]),
        (train.WorkerCallback.after_init_train_context, ["self"]),
        (train.WorkerGroupCallback.before_worker_group_start, ["self", "worker_group_context"]),
        (train.WorkerGroupCallback.before_init_train_context, ["self", "workers"]),
        (train.get_train_context, []),
        (AsyncHyperBandScheduler.on_trial_add, ["self", "tune_controller", "trial"]),
        (AsyncHyperBandScheduler.on_trial_result, ["self", "tune_controller", "trial", "result"]),
    ],
    ids=lambda each: getattr(each, "__qualname__", ""),
)
def test_a_signature_is_as_it_was(function: Any, expected: list[str]) -> None:
    assert parameters(function) == expected


def test_a_context_makes_our_hooks_and_our_limits_and_no_others() -> None:
    context = DataContext.get_current().copy()
    assert context.custom_execution_callback_classes == []
    assert context.op_resource_reservation_enabled is True
    pace._configure(context)
    assert pace.Pace in context.execution_callback_classes
    topology: Any = {}
    policies = get_backpressure_policies(context, topology, None)  # type: ignore[arg-type]
    assert [type(each) for each in policies] == [pace.ConcurrencyCapBackpressurePolicy, pace.OneBlockWaits]
    assert policies[-1]._topology is topology


def test_metadata_can_be_fetched_inline() -> None:
    fetcher = pace.InlineMetadataFetcher()
    assert isinstance(fetcher, MetadataFetcher)


def test_train_calls_our_callback_and_holds_warnings_for_us() -> None:
    assert issubclass(train.WorkerCallback, RayTrainCallback), "else RunConfig refuses it"
    assert ray.train.RunConfig(callbacks=[train.WorkerCallback()]).callbacks  # type: ignore[list-item]
    assert "preemption_context" in {field.name for field in fields(TrainContext)}
    assert PreemptionContext().preemption_info is None


def test_a_trainer_starts_without_an_actor_for_data_sets_and_with_all_else() -> None:
    scaling: Any = ray.train.ScalingConfig(num_workers=1)

    def kinds(trainer: type[TorchTrainer]) -> list[type[Any]]:
        return [type(each) for each in trainer(lambda: None, scaling_config=scaling)._create_default_callbacks()]

    usual = kinds(TorchTrainer)
    assert train.DatasetsCallback in usual
    assert kinds(train.LeanTrainer) == [each for each in usual if each is not train.DatasetsCallback]


def test_a_controller_can_be_made_and_run_in_this_process() -> None:
    """`fit` hands over its parts by name, and needs the result alone."""
    needed = {"train_fn_ref", "train_run_context", "scaling_policy", "failure_policy", "callbacks", "validation_config"}
    assert needed == set(parameters(train.TrainController.__init__)) - {"self"}
    assert inspect.iscoroutinefunction(train.TrainController.run)
    assert not inspect.iscoroutinefunction(train.TrainController.get_result)
    assert parameters(TorchTrainer._initialize_and_run_controller) == ["self", "controller_init_kwargs"]


def test_the_ranks_join_by_the_functions_of_rays_own_backend() -> None:
    from ray.train.torch import config

    assert parameters(config._setup_torch_process_group) == [
        *("backend", "world_rank", "world_size", "init_method", "timeout_s"),
    ]
    assert parameters(config._set_torch_distributed_env_vars) == []
    assert parameters(config._shutdown_torch) == ["destroy_process_group"]
    assert config.TorchConfig().train_func_context is config.TorchConfigContextManager
    assert config.TorchConfig().backend_cls.share_cuda_visible_devices is True
    assert config.TorchConfig().timeout_s == process_group.SECONDS_TO_JOIN


def test_statistics_are_told_and_asked_for_by_functions_that_are_known() -> None:
    ours = {*statistics.TOLD, statistics.ASKED}
    public = {name for name in vars(statistics._StatsManager) if not name.startswith("_")}
    assert public == ours
    assert all(isinstance(vars(statistics._StatsManager)[name], staticmethod) for name in ours)


def test_a_group_of_workers_tells_its_size_and_what_each_is_to_have() -> None:
    assert {"num_workers", "resources_per_worker"} <= {field.name for field in fields(WorkerGroupContext)}


def test_tune_adds_no_printer_beside_ours() -> None:
    class Silent(tune.TrialProgressCallback):
        pass

    def printers(callbacks: list[Any]) -> list[type[Any]]:
        made = _create_default_callbacks(callbacks)
        return [type(each) for each in made if isinstance(each, tune.TrialProgressCallback)]

    assert printers([]) == [tune.TrialProgressCallback]
    assert printers([Silent()]) == [Silent]


def test_tune_goes_by_the_number_of_failures_that_it_is_given() -> None:
    trial = Trial("a trainable", stub=True, max_failures=2)
    tune.set_num_failures(trial, 2)
    assert trial.should_recover()
    tune.set_num_failures(trial, 3)
    assert not trial.should_recover()


def test_asha_needs_no_tune() -> None:
    rule = AsyncHyperBandScheduler(
        time_attr="epoch", metric="top1", mode="max", max_t=9, grace_period=1, reduction_factor=3
    )
    best, other = tune.enter(rule, "best"), tune.enter(rule, "other")
    assert not tune.is_stopped_by(rule, best, {"epoch": 1, "top1": 2.0})
    assert tune.is_stopped_by(rule, other, {"epoch": 1, "top1": 1.0})


def test_variables_are_still_read() -> None:
    read = {
        *train_constants.ENV_VARS_TO_PROPAGATE,
        *tune_constants.TUNE_ENV_VARS,
        *air_constants.AIR_ENV_VARS,
    }
    assert read >= {*environment.ELASTIC, *environment.TUNE}


def test_a_variable_that_is_set_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVLAB_SET", "before")
    monkeypatch.delenv("MVLAB_UNSET", raising=False)
    environment.set_defaults({"MVLAB_SET": "after", "MVLAB_UNSET": "after"})
    assert (os.environ["MVLAB_SET"], os.environ.pop("MVLAB_UNSET")) == ("before", "after")


def test_the_address_of_a_cluster_is_read_from_its_folder(tmp_path: Path) -> None:
    assert cluster.read_ray_address(str(tmp_path)) is None
    (tmp_path / "ray_current_cluster").write_text("127.0.0.1:6379\n")
    assert cluster.read_ray_address(str(tmp_path)) == "127.0.0.1:6379"


def test_a_reader_loads_neither_torch_nor_the_rest_of_ray() -> None:
    script = (
        "import sys, mvlab.data.feed.stream, mvlab.ray_internals.pace;"
        "print(sorted({'torch', 'ray.train', 'ray.tune'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
