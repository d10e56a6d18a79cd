"""Outputs of a program, and their counterparts among the outputs of its model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from mvlab.export.coreml import OUTPUTS
from mvlab.export.detector import Form
from mvlab.export.errors import PackageError
from mvlab.export.mil.program import Program, Ref
from mvlab.export.pipeline import CONFIDENCE, COORDINATES

DECISIONS = ("cast", "slice_by_index", "softmax")
"""Operations that may follow the model's scores in a package."""
FORMS: Mapping[tuple[str, str], Form] = {("boxes", "scores"): "corners", (COORDINATES, CONFIDENCE): "centres"}
"""Form of boxes by the names of a detector's outputs: boxes and scores."""
(PROBABILITIES,) = OUTPUTS["classification"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Tensor of the program, and its counterpart among the model's outputs."""

    label: str
    name: str
    place: int
    """Index of the model's output."""
    is_softmax: bool = False
    """True if it must be the softmax of the model's output, False if it must be that output itself."""
    scores: str | None = None
    """Tensor of the program of which it is the softmax, if it is one."""
    background: bool = False
    """True if the first class of the softmax, the background, is left out."""

    def expected(self, outputs: tuple[Tensor, ...]) -> Tensor:
        return self._softmax(outputs[self.place]) if self.is_softmax else outputs[self.place]

    def off(self, values: Mapping[str, Tensor], expected: Tensor) -> Tensor:
        """Return the error that the program is responsible for.

        For probabilities that is the error against the softmax of the program's own scores. The scores are compared
        with the model's separately. A softmax may enlarge their fp16 error tenfold, or remove it.
        """
        return values[self.name] - (expected if self.scores is None else self._softmax(values[self.scores]))

    def _softmax(self, scores: Tensor) -> Tensor:
        return scores.softmax(1)[:, 1:] if self.background else scores.softmax(1)


def pairs_of(program: Program, expected: tuple[Tensor, ...]) -> Iterator[Pair]:
    """Yield the tensors to compare: outputs, and for probabilities also the scores that they are computed from.

    The name of an output determines what it must be. The program decides only if the name is none of ours.
    """
    classify = next((each for each in program.operations if each.kind == "classify"), None)
    names = program.outputs
    if classify is not None:
        probabilities = classify.arguments["probabilities"]
        assert isinstance(probabilities, Ref)
        names = (probabilities.name,)
    if len(names) != len(expected):
        raise PackageError(
            f"the package has {len(names)} outputs ({', '.join(names)}), the model {len(expected)}: "
            "they are not the same network"
        )
    if (detector := boxes_and_scores(program)) is not None:
        yield from _pairs_of_detector(program, *detector)
        return
    ours = next((each for each in OUTPUTS.values() if set(each) == set(names)), ())
    for place, name in enumerate(ours or names):
        scores = _before_softmax(program, name)
        if classify is None and name != PROBABILITIES and (scores is None or ours):
            yield Pair(name, name, place)
        elif scores is None:
            yield Pair("probabilities without a softmax", name, place, is_softmax=True)
        else:
            yield Pair("logits", scores, place)
            yield Pair("probabilities", name, place, is_softmax=True, scores=scores)


def boxes_and_scores(program: Program) -> tuple[str, str] | None:
    """Return the names of a detector's boxes and scores; None if the program does not give them, as others' may not."""
    return next(((boxes, scores) for boxes, scores in FORMS if {boxes, scores} == set(program.outputs)), None)


def _pairs_of_detector(program: Program, boxes: str, scores: str) -> Iterator[Pair]:
    """Yield boxes, the logits that scores are computed from, and scores."""
    logits = _before_softmax(program, scores)
    yield Pair(boxes, boxes, 0)
    if logits is None:
        yield Pair(f"{scores} without a softmax", scores, 1, is_softmax=True, background=True)
    else:
        yield Pair("logits", logits, 1)
        yield Pair(scores, scores, 1, is_softmax=True, scores=logits, background=True)


def _before_softmax(program: Program, name: str) -> str | None:
    """Return the tensor of which the tensor `name` is the softmax, if it is one."""
    operation = program.producer(name)
    while operation is not None and operation.kind in DECISIONS:
        before = operation.arguments["x"]
        assert isinstance(before, Ref)
        if operation.kind == "softmax":
            return before.name
        operation = program.producer(before.name)
    return None
