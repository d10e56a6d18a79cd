"""`mvlab weights`: import and export, in the formats of the authors' release, timm and transformers."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mvlab.markdown import markdown_table
from mvlab.models.weights.errors import WeightsError, few

if TYPE_CHECKING:
    from mvlab.models.weights.preprocessing import Said
    from mvlab.models.weights.saved import SavedNetwork

FORMATS = ("cvnets", "timm", "transformers")
PARTS = ("channels", "mean", "std", "resize", "crop", "interpolation")
"""Options on the preprocessing of images."""
WARP = "warp"
NORMALISED = "packages of it subtract its mean and divide by its std; training does not, and refuses to begin with it"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = "Weights of MobileViT, and of SSDLite and DeepLabv3 on it, in the formats of other projects."
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    import_ = actions.add_parser(
        "import",
        help="read weights of others",
        description="Writes a file for --initial-weights, export and verify. Format and network are detected unless "
        "they are named. The preprocessing of images follows from the format, and is printed. Our networks take RGB: "
        "BGR is folded into the first convolution. A mean and a std become part of packages.",
    )
    import_.add_argument("file", metavar="FILE", help="safetensors, a file of torch.save, or a folder of Hugging Face")
    import_.add_argument("--format", choices=FORMATS, help="project whose names the weights have (default: detected)")
    import_.add_argument(
        "--network", metavar="NAME", help="e.g. mobilevit_xxs or ssdlite_mobilevit_s (default: detected)"
    )
    _add_preprocessing(import_)
    import_.set_defaults(run=run_import)
    export = actions.add_parser(
        "export",
        help="write our weights for others",
        description="Writes the averaged weights of a run's checkpoint, or imported ones.",
    )
    export.add_argument("file", metavar="FILE", help="a run's state.pt, or what `mvlab weights import` wrote")
    export.add_argument("--format", choices=FORMATS, required=True, help="project whose names the weights get")
    export.set_defaults(run=run_export)
    for action in (import_, export):
        action.add_argument(
            "--channels",
            choices=("rgb", "bgr"),
            help="order of channels in the other network (default: bgr for cvnets and transformers, rgb for timm). "
            "ml-cvnets after v0.1 trains on rgb",
        )
        action.add_argument("--out", metavar="FILE", required=True, help="file to write")


def _add_preprocessing(import_: argparse.ArgumentParser) -> None:
    """Add the options on the preprocessing that the weights were trained with, except for the order of channels."""
    for option, what in (("--mean", "subtracted from images in [0, 1]"), ("--std", "divides what is left")):
        import_.add_argument(
            option, type=float, nargs=3, metavar="X", help=f"{what}, channel by channel in the order of --channels"
        )
    import_.add_argument(
        "--resize",
        type=lambda text: text if text == WARP else _side(text),
        metavar="PX|warp",
        help="shorter side before a centre crop; warp: --crop at once, uncropped",
    )
    import_.add_argument("--crop", type=_side, metavar="PX", help="side of the square that the network takes")
    import_.add_argument("--interpolation", choices=("bilinear", "bicubic"), help="interpolation of the resizing")


def _side(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no number of pixels")
    return int(text)


def _said(parsed: argparse.Namespace) -> "Said":
    """Parts of the preprocessing that the command line names."""
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
