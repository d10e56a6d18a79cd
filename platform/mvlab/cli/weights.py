"""`mvlab weights`: weights in and out, in the formats of the authors' release, timm and transformers."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mvlab.markdown import markdown_table
from mvlab.models.weights.errors import WeightsError, few

if TYPE_CHECKING:
    from mvlab.models.weights.preprocessing import Said
    from mvlab.models.weights.saved import SavedNetwork

FORMATS = ("cvnets", "timm", "transformers")
PARTS = ("channels", "mean", "std", "resize", "crop", "interpolation")
"""Options that say how images were prepared."""
WARP = "warp"
NORMALISED = "packages of it subtract its mean and divide by its std; training does not, and refuses to begin with it"


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "weights",
        help="weights of the authors' release, timm and transformers, in and out",
        description="Weights of MobileViT, and of SSDLite and DeepLabv3 on it, as others keep them.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    import_ = actions.add_parser(
        "import",
        help="others' weights as ours",
        description="Writes a file that --initial-weights, export and verify take. Format and network are found out if "
        "they are not said; so is how images were prepared, from the format, and it is printed what was assumed. Our "
        "networks see RGB: BGR is folded into the first convolution. A mean and a std become part of packages.",
        allow_abbrev=False,
    )
    import_.add_argument("file", metavar="FILE", help="safetensors, what torch.save wrote, or Hugging Face's folder")
    import_.add_argument("--format", choices=FORMATS, help="whose names the weights have")
    import_.add_argument("--network", metavar="NAME", help="e.g. mobilevit_xxs or ssdlite_mobilevit_s")
    _add_preprocessing(import_)
    import_.set_defaults(run=run_import)
    export = actions.add_parser(
        "export",
        help="our weights as others'",
        description="Writes the averaged weights of a run's checkpoint, or imported ones.",
        allow_abbrev=False,
    )
    export.add_argument("file", metavar="FILE", help="a run's state.pt, or what `mvlab weights import` wrote")
    export.add_argument("--format", choices=FORMATS, required=True, help="whose names to give them")
    export.set_defaults(run=run_export)
    for action in (import_, export):
        action.add_argument(
            "--channels",
            choices=("rgb", "bgr"),
            help="what the others' network sees, if not the usual (cvnets and transformers bgr, timm rgb): ml-cvnets "
            "after v0.1 trains on rgb",
        )
        action.add_argument("--out", metavar="FILE", required=True, help="file to write")


def _add_preprocessing(import_: argparse.ArgumentParser) -> None:
    """Options of how images were prepared that the weights were trained with, but for the order of the channels."""
    for option, what in (("--mean", "subtracted from images in [0, 1]"), ("--std", "divides what is left")):
        import_.add_argument(
            option, type=float, nargs=3, metavar="X", help=f"{what}, channel by channel in the order of --channels"
        )
    import_.add_argument(
        "--resize", type=_side_or_warp, metavar="PX|warp", help="shorter side before a centre crop, or none of it kept"
    )
    import_.add_argument("--crop", type=_side, metavar="PX", help="side of the square that the network sees")
    import_.add_argument("--interpolation", choices=("bilinear", "bicubic"), help="of the resizing")


def _side(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of pixels")
    return int(text)


def _side_or_warp(text: str) -> int | str:
    return text if text == WARP else _side(text)


def _said(parsed: argparse.Namespace) -> "Said":
    """Parts of the preprocessing that were said."""
    values = {part: getattr(parsed, part) for part in PARTS if getattr(parsed, part) is not None}
    plain = {part: tuple(value) if isinstance(value, list) else value for part, value in values.items()}
    return cast("Said", {part: None if value == WARP else value for part, value in plain.items()})


def run_import(parsed: argparse.Namespace) -> int:
    from mvlab.models.weights.convert import import_weights  # torch: seconds to import
    from mvlab.models.weights.saved import write_saved

    file, out = _files(parsed)
    said = _said(parsed)
    saved, fit = import_weights(file, format_=parsed.format, network=parsed.network, said=said)
    write_saved(saved, out)
    rows = [["format", f"{fit.format.name}, {saved.source['channels'].upper()}"]]
    if fit.left_out:
        rows.append(["left out", f"{few(fit.left_out)}: no part of the network"])
    rows.append(["preprocessing from", saved.source["preprocessing"]])
    use = NORMALISED if saved.preprocessing.is_normalised else f"fine-tune it with --initial-weights {out}"
    print(f"{_table(saved, out, rows)}\n\n{out} is for RGB; {use}")
    return 0


def run_export(parsed: argparse.Namespace) -> int:
    from mvlab.models.weights.convert import export_weights  # torch: seconds to import
    from mvlab.models.weights.saved import read_saved

    file, out = _files(parsed)
    saved = read_saved(file)
    seen = export_weights(saved, out, format_=parsed.format, channels=parsed.channels)
    theirs = replace(saved, preprocessing=saved.preprocessing.seeing(seen))
    print(_table(theirs, out, [["format", f"{parsed.format}, {seen.upper()}"]]))
    return 0


def _files(parsed: argparse.Namespace) -> tuple[Path, Path]:
    file, out = Path(parsed.file), Path(parsed.out)
    if out.resolve() == file.resolve():
        raise WeightsError(f"--out {out} is the file that is read: name another")
    return file, out


def _table(saved: "SavedNetwork", out: Path, rows: list[list[str]]) -> str:
    from mvlab.models.initial import file_sha256

    parameters = sum(parameter.numel() for parameter in saved.build().parameters())
    rows = [
        *rows,
        ["network", saved.network.title],
        ["classes", f"{saved.num_classes:,}"],
        ["parameters", f"{parameters:,}"],
        ["preprocessing", str(saved.preprocessing)],
        ["sha256", file_sha256(out)],
    ]
    return markdown_table([str(out), ""], rows)
