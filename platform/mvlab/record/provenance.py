"""Origin of a number: code, machine and versions."""

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from mvlab.masking import masked_command

VERSIONS = ("torch", "torchvision", "ray", "mlflow", "coremltools", "numpy", "pyarrow", "pillow")


def provenance(root: Path) -> dict[str, str]:
    """Return tags for every run: git revision and dirtiness of `root`, Python, packages."""
    tags = {"mvlab.python": platform.python_version()}
    tags |= {f"mvlab.version.{name}": version(name) for name in VERSIONS}
    revision = _git(root, "rev-parse", "HEAD")
    if revision:
        tags["mvlab.git.revision"] = revision
        tags["mvlab.git.dirty"] = str(bool(_git(root, "status", "--porcelain"))).lower()
    return tags


def command(root: Path) -> str:
    """Return the command line of this process, in a form to be typed in any checkout."""
    script = Path(sys.argv[0]).absolute()
    shown = script.relative_to(root) if script.is_relative_to(root) else script.name
    return masked_command(["python", str(shown), *sys.argv[1:]])


def _git(root: Path, *arguments: str) -> str:
    """Return git's output; empty without git or a repository, since a job may run from a plain copy."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
