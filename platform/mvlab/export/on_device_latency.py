"""Times CoreML packages on a Mac, in turns. Needs macOS, and coremltools, numpy and pillow; nothing of mvlab.

    python on_device_latency.py FOLDER --out results.json [--compute-units CPU_AND_NE] [--repeats 100]

FOLDER holds .mlpackage files, named as `mvlab latency names` says; `mvlab latency import results.json` shows their
times beside the paper's.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "mvlab.latency/1"
COMPUTE_UNITS = ("CPU_AND_NE", "CPU_AND_GPU", "CPU_ONLY", "ALL")
WARMUPS = 10
TURNS_BETWEEN_WRITES = 10
"""Interval of writing results, so that an interruption or a crash keeps the earlier measurements."""
SOME_LEFT_OUT = 1

Predict = Callable[[], Any]


def main(arguments: list[str]) -> int:
    """Return the exit status: 0 all measured, 1 some failed, 2 cannot run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--compute-units", choices=COMPUTE_UNITS, default=COMPUTE_UNITS[0], help="(%(default)s)")
    parser.add_argument(
        "--repeats",
        type=int,
        default=100,
        metavar="N",
        help="timed runs, of which the median is reported (%(default)s)",
    )
    parsed = parser.parse_args(arguments)
    packages = sorted(parsed.folder.glob("*.mlpackage"))
    if platform.system() != "Darwin":
        return refuse(f"CoreML predicts on macOS only, and this is {platform.system()}: run it on a Mac")
    if not packages:
        return refuse(f"{parsed.folder} holds no .mlpackage: name the folder that they are in")
    if parsed.repeats < 1:
        return refuse(f"--repeats {parsed.repeats}: at least one is needed")
    device, system = mac(), f"macOS {platform.mac_ver()[0]}"
    times: dict[str, list[float]] = {}
    for times in take_turns(load_all(packages, parsed.compute_units), parsed.repeats):
        turn = max(map(len, times.values()), default=0)
        if turn == parsed.repeats or (turn and turn % TURNS_BETWEEN_WRITES == 0):
            document = results(times, device=device, system=system, compute_units=parsed.compute_units)
            parsed.out.write_text(json.dumps(document, indent=1), encoding="utf-8")
    if not times:
        return refuse("none of the packages could be run")
    print(f"{len(times)} of {len(packages)} packages measured on {device}: {parsed.out}")
    return 0 if len(times) == len(packages) else SOME_LEFT_OUT


def refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def leave_out(name: str, error: Exception) -> None:
    """Report a package that is left out. The others are still measured."""
    print(f"{name} cannot be run, and is left out: {error}", file=sys.stderr)


def load_all(packages: Sequence[Path], compute_units: str) -> dict[str, Predict]:
    """Return a prediction by package name. Packages that cannot be loaded are left out."""
    predictions: dict[str, Predict] = {}
    for path in packages:
        try:
            predictions[path.stem] = load(path, compute_units)
        except Exception as error:  # noqa: BLE001 - coremltools and CoreML raise a dozen types
            leave_out(path.stem, error)
    return predictions


def load(path: Path, compute_units: str) -> Predict:
    """Return a prediction with the default function of the package at `path`, for one random input."""
    import coremltools as ct

    model = ct.models.MLModel(str(path), compute_units=ct.ComputeUnit[compute_units])
    inputs = example_inputs(model.get_spec().description)
    return lambda: model.predict(inputs)


def example_inputs(description: Any) -> dict[str, Any]:
    """Return a random image or array for each input in the description of a package, or of its default function."""
    from PIL import Image

    random = np.random.default_rng(0)
    inputs: dict[str, Any] = {}
    functions = {each.name: each for each in description.functions}
    for each in functions.get(description.defaultFunctionName, description).input:
        if each.type.isOptional:  # a threshold
            continue
        kind = each.type.WhichOneof("Type")
        if kind == "imageType":
            shape = (each.type.imageType.height, each.type.imageType.width, 3)
            inputs[each.name] = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8))
        elif kind == "multiArrayType":
            inputs[each.name] = random.random(tuple(each.type.multiArrayType.shape), dtype=np.float32)
        else:
            raise ValueError(f"input {each.name} is a {kind}: only images and arrays can be made up")
    return inputs


def take_turns(predictions: Mapping[str, Predict], repeats: int) -> Iterator[dict[str, list[float]]]:
    """Yield, after each turn past WARMUPS, the milliseconds of every prediction so far, by name.

    Other load on the device affects all alike. A prediction that fails is left out, with its times.
    """
    times: dict[str, list[float]] = {name: [] for name in predictions}
    for turn in range(WARMUPS + repeats):
        for name in list(times):
            started = time.perf_counter()
            try:
                predictions[name]()
            except Exception as error:  # noqa: BLE001 - as above
                leave_out(name, error)
                del times[name]
                continue
            if turn >= WARMUPS:
                times[name].append(1000 * (time.perf_counter() - started))
        if turn >= WARMUPS:
            yield times


def results(times: Mapping[str, list[float]], *, device: str, system: str, compute_units: str) -> dict[str, Any]:
    """Return the content of a file for `mvlab latency import`."""
    return {
        "format": FORMAT,
        "device": device,
        "os": system,
        "compute_units": compute_units,
        "measurements": [
            {"package": name, "median_ms": statistics.median(values), "repeats": len(values)}
            for name, values in times.items()
        ],
    }


def mac() -> str:
    """Return the name of this Mac, e.g. "Apple M2 (Mac14,2)"."""
    chip, model = (
        subprocess.run(["sysctl", "-n", key], capture_output=True, text=True, check=True).stdout.strip()
        for key in ("machdep.cpu.brand_string", "hw.model")
    )
    return f"{chip} ({model})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
