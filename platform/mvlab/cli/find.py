"""Experiments by name or by file: the project's, and those of users."""

import importlib.util
import symtable
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from mvlab.checks import did_you_mean
from mvlab.errors import UserError
from mvlab.experiment import Experiment

PACKAGE = "experiments"
"""Package of the project's experiments, a file each."""
OWN = "EXPERIMENT"
"""Name of the experiment that a file defines."""


class ExperimentError(UserError, ValueError):
    """There is no such experiment, or its file cannot be read; the message says what to do."""


def find_experiment(name_or_file: str) -> Experiment:
    """Return the experiment of this name, or the one in this file.

    Raises:
        ExperimentError: there is none, or there are several.
    """
    if name_or_file.endswith(".py"):
        found = in_file(Path(name_or_file))
        if len(found) != 1:
            what = f"{len(found)} experiments: give one by name, {', '.join(found)}" if found else "no Experiment"
            raise ExperimentError(f"{name_or_file} defines {what}; a file of your own defines one, as {OWN}")
        return next(iter(found.values()))
    known = known_experiments()
    if name_or_file not in known:
        raise ExperimentError(f"there is no experiment {name_or_file!r}{did_you_mean(name_or_file, known)}")
    return known[name_or_file]


def known_experiments() -> dict[str, Experiment]:
    """Return name -> experiment of the project's folder."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ExperimentError(f"the folder {PACKAGE}/ is not importable: run this from the project, or install it")
    folder = Path(next(iter(found.submodule_search_locations)))
    files = sorted(folder.glob("[!_]*.py"))
    return _by_name((path, each) for path in files for each in _defined(path, f"{PACKAGE}.{path.stem}"))


def in_file(path: Path) -> dict[str, Experiment]:
    """Return name -> experiment that a file defines: its EXPERIMENT, or else its values and those of its mappings.

    An experiment that the file only imports does not count.

    Raises:
        ExperimentError: it cannot be imported, or two of its experiments have the same name.
    """
    return _by_name((path, each) for each in _defined(path, f"mvlab_experiment_{path.stem}"))


def _by_name(experiments: Iterable[tuple[Path, Experiment]]) -> dict[str, Experiment]:
    """Return name -> experiment.

    Raises:
        ExperimentError: two have the same name, or the same but for the case, which a file system may ignore.
    """
    found: dict[str, tuple[Path, Experiment]] = {}
    for path, experiment in experiments:
        other, known = found.setdefault(experiment.name.lower(), (path, experiment))
        if known is not experiment:
            where = f"{path}" if path == other else f"{other} and {path}"
            raise ExperimentError(f"{where}: two experiments are called {experiment.name!r}; rename one of them")
    return {experiment.name: experiment for _, experiment in found.values()}


def _defined(path: Path, module: str) -> list[Experiment]:
    """Experiments that a file itself defines. It is imported as `module`."""
    if not path.is_file():
        raise ExperimentError(f"{path}: there is no such file")
    attributes = vars(_imported(path, module))
    table = symtable.symtable(path.read_text(encoding="utf-8"), str(path), "exec")
    assigned = [symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned()]  # and not imported
    own = {name: attributes[name] for name in assigned if name in attributes}
    values = [own[OWN]] if isinstance(own.get(OWN), Experiment) else list(own.values())
    experiments = [value for value in values if isinstance(value, Experiment)]
    for value in values:
        if isinstance(value, Mapping):
            experiments += [each for each in value.values() if isinstance(each, Experiment)]
    return experiments


def _imported(path: Path, name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ExperimentError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ExperimentError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module
