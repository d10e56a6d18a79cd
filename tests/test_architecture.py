"""The house rules that a machine can hold."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLATFORM = ROOT / "platform"
PACKAGE = PLATFORM / "mvlab"

LAYERS = [
    {
        "checks",
        "codecs",
        "compiled",
        "config",
        "disk",
        "durable",
        "durations",
        "errors",
        "experiment",
        "facts",
        "lock_file",
        "markdown",
        "masking",
        "metrics",
        "names",
        "network",
        "networks",
        "paths",
        "ray_internals",
        "samplers",
        "scale",
        "targets",
        "tasks.base",
        "data.geometry",
    },
    {"data", "models"},
    {"tasks"},
    {"training"},
    {"export", "measure", "record", "statistics"},
    {"sweep"},
    {"report"},
    {"study"},
    {"cli"},
    {"experiments"},
    {"jobs"},
]
"""Each may import from its own layer and those above it in this list."""

PARTS = {name for layer in LAYERS for name in layer if "." in name}
"""Modules that lie deeper than the rest of their room."""
LATE = {"networks": "models"}
"""A network's config builds the network. So it imports its builder from below, and only when it builds."""

ONLY_IN = {
    "ray": {
        "data/feed/stream.py",
        "data/ingest/job.py",
        "ray_internals/",
        "training/worker.py",
        "training/trainer.py",
        "training/failures.py",
        "training/run_queue.py",
        "sweep/",
    },
    "mlflow": {"record/"},
    "coremltools": {"export/"},
    "timm": {"models/backbones/timm_networks.py"},
}


def sources() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "experiments").rglob("*.py"), *(ROOT / "jobs").glob("*.py")])


def imported_modules(path: Path) -> set[str]:
    """Full names of the modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(module: str) -> str | None:
    """Where in LAYERS a module is: `mvlab.data.plan` is in `data`."""
    first, *rest = module.split(".")
    if first == "mvlab":
        part = ".".join(rest[:2])
        return part if part in PARTS else rest[0] if rest else None
    return first if first in ("experiments", "jobs") else None


def room_of(path: Path) -> str | None:
    if path.is_relative_to(PACKAGE):
        inside = path.relative_to(PACKAGE)
        if (part := ".".join(inside.with_suffix("").parts)) in PARTS:
            return part
        return inside.parts[0].removesuffix(".py") if inside.name != "__init__.py" or len(inside.parts) > 1 else None
    return path.relative_to(ROOT).parts[0]


def test_platform_is_no_package() -> None:
    """An `__init__.py` there would hide the standard library's platform from Python itself."""
    assert not (PLATFORM / "__init__.py").exists()
    import platform

    assert platform.python_version()


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    level = {name: index for index, layer in enumerate(LAYERS) for name in layer}
    here = room_of(path)
    if here is None:
        return
    assert here in level, f"{here} has no place in LAYERS"
    for module in imported_modules(path):
        there = room(module)
        if there is not None:
            assert level[there] <= level[here] or LATE.get(here) == there, f"{path.name} imports {module} from above it"


def test_codecs_stand_alone() -> None:
    """Bytes in, pixels out: nothing else of the platform is known to them."""
    for path in (PACKAGE / "codecs").rglob("*.py"):
        known = {room(module) for module in imported_modules(path)} - {None}
        assert known <= {"codecs", "checks", "compiled"}, f"{path.name} imports {known}"


@pytest.mark.parametrize("package", ONLY_IN)
def test_big_dependencies_stay_in_their_rooms(package: str) -> None:
    for path in PACKAGE.rglob("*.py"):
        if any(name.split(".")[0] == package for name in imported_modules(path)):
            inside = path.relative_to(PACKAGE).as_posix()
            assert any(inside.startswith(allowed) for allowed in ONLY_IN[package]), f"{inside} imports {package}"


INTERNALS = PACKAGE / "ray_internals"
UNDOCUMENTED = {"custom_execution_callback_classes", "preemption_context", "run_metadata", "set_config"}
"""Attributes of Ray's public objects that its reference does not list."""
PUBLIC_VARIABLES = {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_TMPDIR"}


def internals_named(path: Path) -> Iterator[str]:
    """Private modules, attributes and resources of Ray, and undocumented variables, that a file names."""
    modules = {name for name in imported_modules(path) if name.split(".")[0] == "ray"}
    yield from (name for name in modules if re.search(r"\._", name))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_variable = re.fullmatch("(RAY|TUNE)_[A-Za-z_]+", node.value) and node.value not in PUBLIC_VARIABLES
            if is_variable or "__internal" in node.value:
                yield node.value
        if modules and isinstance(node, ast.Attribute):
            of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os")
            is_private = node.attr.startswith("_") and not node.attr.startswith("__") and not of_self
            if is_private or node.attr in UNDOCUMENTED:
                yield node.attr


@pytest.mark.parametrize(
    "path",
    [path for path in [*sources(), *sorted((ROOT / "benchmarks").glob("*.py"))] if INTERNALS not in path.parents],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_internals_of_ray_are_named_in_one_place(path: Path) -> None:
    assert not list(internals_named(path))


def test_the_place_of_rays_internals_is_seen_by_that_rule() -> None:
    named = {name for path in INTERNALS.glob("*.py") for name in internals_named(path)}
    assert {"ray._private.state", "_execute_to_iterator", "run_metadata", "RAY_AIR_NEW_OUTPUT"} <= named
    assert "node:__internal_head__" in named


def test_ray_is_pinned_to_the_version_of_the_lock_file() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    [version] = re.findall(r'"ray\[[^]]*\]==([0-9.]+)"', project)
    assert re.search(rf"^ray==({re.escape(version)}) ", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)


def test_readers_import_no_torch() -> None:
    """Reader processes start in the time that their imports take."""
    rooms = ("codecs", "data/feed", "data/store", "ray_internals")
    single = (
        *(
            "targets",
            "tasks/base",
            "tasks/classification/task",
            "tasks/classification/config",
            "tasks/classification/view",
            "tasks/detection/task",
            "tasks/detection/colours",
            "tasks/detection/config",
            "tasks/detection/crop",
            "tasks/detection/view",
        ),
        *("compiled", "data/geometry", "data/geometry_kernels", "data/plan", "data/randomness"),
    )
    paths = [
        *(PACKAGE / f"{name}.py" for name in single),
        *(p for room in rooms for p in (PACKAGE / room).rglob("*.py")),
    ]
    for path in paths:
        assert not any(module.split(".")[0] == "torch" for module in imported_modules(path))


def test_configs_import_no_torch() -> None:
    """The networks too: a config imports torch when it builds."""
    code = "import sys; import experiments.recipes, mvlab.study.config_from_json; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False"]


WRITES_PLAINLY = {
    "durable.py",
    "training/ledger.py",  # a line is a step, of which the last may be lost
    "training/files.py",  # lines for people
    "training/checkpoints.py",  # into a folder that `atomic_folder` publishes; renames what it refuses
    "training/state.py",
    "training/peak_memory.py",  # a switch of the kernel's
    "record/lock.py",  # the file itself is the lock, and is made or not
    "export/on_device_latency.py",  # runs on a Mac without mvlab
}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_are_written_so_that_they_outlive_a_crash(path: Path) -> None:
    """By `mvlab.durable`, or the store that data lie in."""
    if path.relative_to(PACKAGE).as_posix() in WRITES_PLAINLY:
        return
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute | ast.Name):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
            modes = [each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            opens = name == "open" and any(re.fullmatch("[wax]b?[+]?", mode) for mode in modes)
            is_plain = opens or name in ("write_text", "write_bytes", "fsync", "rename")
            assert not is_plain, f"line {call.lineno}"


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.py")), ids=lambda path: path.name)
def test_jobs_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 15


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def test_lock_file_has_hashes_and_names_no_index() -> None:
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert not re.search(r"index-url|find-links|trusted-host|https?://|file:", lock)
    pinned = re.findall(r"^[a-zA-Z0-9_.-]+(?:\[[^]]*\])?==.*$", lock, flags=re.MULTILINE)
    assert len(pinned) > 100
    assert all(line.endswith("\\") for line in pinned), "a requirement without a hash"
