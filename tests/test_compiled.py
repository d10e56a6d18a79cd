"""Compiled code: where it is kept, and when it is compiled anew."""

import re
from pathlib import Path

import pytest

import mvlab.compiled
from mvlab.compiled import cache_folder


def test_compiled_code_is_kept_where_somebody_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the place of a folder cannot be written to, not even by root."""
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setattr(mvlab.compiled._SETTINGS, "CACHE_DIR", str(tmp_path / "no-folder"))
    folder = cache_folder.__wrapped__()
    assert folder is not None
    assert not folder.startswith(str(tmp_path))
    monkeypatch.setattr(mvlab.compiled, "_places", lambda: iter([tmp_path / "no-folder"]))
    assert cache_folder.__wrapped__() is None


def test_whatever_is_compiled_is_compiled_anew_when_it_changes() -> None:
    """The cache on the disk is named by the contents of all files that are compiled."""
    package = Path(mvlab.compiled.__file__).parent
    using = {
        path.relative_to(package).with_suffix("").as_posix()
        for path in package.rglob("*.py")
        if re.search("^@compiled", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    called = {"data/geometry", "tasks/detection/crop"}  # compiled where they are used; slower they run without numba
    assert using | called == set(mvlab.compiled._FILES)
