"""Report on the verification of a package, for people."""

from collections.abc import Sequence

from mvlab.export.detections import BAND, SAME_BOX, Agreement
from mvlab.export.rounding_error import Loss
from mvlab.export.verification import OutputErrors, Verification
from mvlab.markdown import markdown_table

UNKNOWN_LABELS = "Labels were not checked: the names of the classes are not known. Give them with `classes` FILE."


def describe_verification(verification: Verification, images: str) -> str:
    """Return tables and a verdict. `images` names the images that were used."""
    v = verification
    text = [
        f"{v.package}: {v.num_operations} operations, {v.precision}, specification version {v.specification_version}; "
        f"run on {v.num_images} {images}",
        markdown_table(
            ["output", "images", "float64", v.precision, "max", "mean", "same top-1"],
            [_row(each) for each in v.outputs],
        ),
        "float64: largest error of the program in float64 with the model's weights, in standard deviations of the "
        f"output; at most {v.exact_tolerance:.0e} is allowed. {v.precision}: that of the program as it is; at most "
        f"{v.tolerance:g}. max, mean: absolute errors of the program as it is.",
        *_detections(v.detections),
        _weights(v) if v.are_labels_known else f"{_weights(v)} {UNKNOWN_LABELS}",
    ]
    if v.losses_by_kind:
        text += [
            f"Rounding error of {v.outputs[0].output}, with each of these alone in {v.precision}:",
            _loss_table("kind of operation", v.losses_by_kind),
            _loss_table("operation", v.losses_by_operation),
        ]
    if v.first_imprecise is not None:
        first = v.first_imprecise
        text.append(f"First past {v.tolerance:g} as {v.precision}: {first.place}, {first.kind} {first.operation!r}.")
    problems = [f"- {problem}" for problem in v.problems()]
    text.append("Verified: it computes what the model does." if v.passed else "\n".join(["NOT verified:", *problems]))
    return "\n\n".join(text)


def _row(errors: OutputErrors) -> list[str]:
    height, width = errors.size
    size = f"{width}x{height}" if errors.function == "main" else f"{width}x{height} ({errors.function})"
    agreement = "–" if errors.top1_agreement is None else f"{errors.top1_agreement:.2%}"
    numbers = [f"{each:.1e}" for each in (errors.exact, errors.relative, errors.max_abs, errors.mean_abs)]
    return [errors.output, size, *numbers, agreement]


def _detections(agreements: Sequence[Agreement]) -> list[str]:
    """Return a table of detections and its explanation; nothing without them."""
    if not agreements:
        return []
    rows = [
        [
            f"{a.size[1]}x{a.size[0]}",
            a.rule,
            *(f"{found:,} of {all_:,}" for found, all_ in ((a.num_found, a.num_model), (a.num_known, a.num_package))),
            f"{a.num_open:,}",
        ]
        for a in agreements
    ]
    table = markdown_table(["images", "suppression", "model's, in package", "package's, in model", "open"], rows)
    text = (
        f"Detections with scores above {agreements[0].score:g}, after non-maximum suppression: a detection is found if "
        f"the other has one of its class with IoU {SAME_BOX:g} or more and a score within {BAND:g}. open: detections "
        f"of the model that hang on a difference below {BAND:g}, in a score or an IoU. They are not counted."
    )
    if not any(a.num_model or a.num_package for a in agreements):
        text += " There are none in these images, so that no detection was compared: take other images."
    return [table, text]


def _weights(v: Verification) -> str:
    found = f"Of the stored constants {v.num_weights} are the model's weights and scalars, rounded"
    changed = f"; {len(v.changed)} changed" if v.changed else ""
    foreign = f"; {len(v.foreign)} are no weight of the model, e.g. {v.foreign[0]}" if v.foreign else ""
    return f"{found}{changed}{foreign}."


def _loss_table(of: str, losses: Sequence[Loss]) -> str:
    single = all(loss.num_operations == 1 for loss in losses)
    rows = [[loss.name, loss.kind if single else str(loss.num_operations), f"{loss.error:.1e}"] for loss in losses]
    return markdown_table([of, "kind" if single else "operations", "error"], rows)
