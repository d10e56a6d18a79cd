"""Compiled code: where it is kept, and when it is compiled anew."""

from pathlib import Path

import pytest

import mvlab.data.compiled
from mvlab.data.compiled import cache_folder


def test_compiled_code_is_kept_where_somebody_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the place of a folder cannot be written to, not even by root."""
    (tmp_path / "no-folder").write_text("")
    monkeypatch.setattr(mvlab.data.compiled._SETTINGS, "CACHE_DIR", str(tmp_path / "no-folder"))
    folder = cache_folder()
    assert folder is not None
    assert not folder.startswith(str(tmp_path))
    monkeypatch.setattr(mvlab.data.compiled, "_places", lambda: iter([tmp_path / "no-folder"]))
    assert cache_folder() is None


def test_whatever_is_compiled_is_compiled_anew_when_it_changes() -> None:
    """What is kept on the disk is named by the contents of all files that are compiled."""
    folder = Path(mvlab.data.compiled.__file__).parent
    using = {path.stem for path in folder.glob("*.py") if "\n@compiled\n" in path.read_text(encoding="utf-8")}
    assert using == set(mvlab.data.compiled._FILES)
