"""Claims of a package besides its program: output names, labels, sizes, digest of the weights.

No computation can refute them: the program runs as well with another label for each probability.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from mvlab.export.coreml import CLASSES, WEIGHTS, function_name
from mvlab.export.mil.program import Program


def false_claims(
    program: Program, *, function: str, classes: Sequence[str], num_classes: int, weights_sha256: str
) -> Iterator[str]:
    """Yield each false claim as a sentence.

    Args:
        program: program of one function.
        function: its name.
        classes: labels in the order of the model's scores; empty if unknown.
        num_classes: number of classes of a classifier's model.
        weights_sha256: digest of the model's weights.
    """
    yield from _false_names(program)
    said = re.fullmatch(function_name(r"(\d+)", is_default=False), function)
    if said and (int(said[1]), int(said[1])) not in program.input.sizes:
        height, width = program.input.sizes[0]
        yield f"function {function} takes images of {width}x{height} pixels"
    if program.labels:
        yield from _false_labels(program.labels, classes or _numbers(program.labels), num_classes)
    elif classes:
        yield from _false_labels(_named(program.interface.metadata), classes, len(classes))
    claimed = program.interface.metadata.get(WEIGHTS, weights_sha256)
    if claimed != weights_sha256:
        yield f"its metadata say that it has the weights {claimed[:16]}, and the model has {weights_sha256[:16]}"


def _false_names(program: Program) -> Iterator[str]:
    declared, given = program.interface.outputs, program.outputs
    if set(declared) != set(given):
        yield f"it declares the outputs {', '.join(declared)}, and its program gives {', '.join(given)}"
    predicted = (program.interface.label, program.interface.probabilities)
    for operation in program.operations:
        names = tuple(output.name for output in operation.outputs)
        if operation.kind == "classify" and names != predicted:
            yield f"it declares {' and '.join(predicted)} as label and probabilities, which are {' and '.join(names)}"


def _false_labels(labels: Sequence[str], classes: Sequence[str], num_classes: int) -> Iterator[str]:
    if len(labels) != num_classes:
        yield f"it has {len(labels):,} labels for {num_classes:,} classes"
    if twice := [label for label, count in Counter(labels).items() if count > 1]:
        yield f"several of its classes are labelled {twice[0]!r}"
    wrong = [pair for pair in zip(classes, labels, strict=False) if pair[0] != pair[1]]
    if wrong:
        what = "in another order" if sorted(labels) == sorted(classes) else "of other classes"
        yield f"{len(wrong):,} of its labels are {what}: class {wrong[0][0]!r} is called {wrong[0][1]!r}"


def _named(metadata: Mapping[str, str]) -> Sequence[str]:
    """Return the class names of a detector or segmenter; none if they are no list."""
    try:
        named = json.loads(metadata.get(CLASSES, "[]"))
    except json.JSONDecodeError:
        return []
    return [str(each) for each in named] if isinstance(named, list) else []


def _numbers(labels: Sequence[str]) -> Sequence[str]:
    """Return the numbers in order if the labels are numbers: a package without class names has these."""
    numbers = [str(number) for number in range(len(labels))]
    return numbers if set(numbers) == set(labels) else labels
