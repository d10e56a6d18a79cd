"""The table of many packages is short, and says below it what is wrong with which."""

from pathlib import Path
from typing import Any

from mvlab.export.verification import OutputErrors, Verification
from mvlab.export.zoo import MadePackage, Wanted
from mvlab.networks import NANO, MobileViTConfig
from mvlab.report.packages import FILES, count, write_packages

DESCRIBED: dict[str, Any] = {"bytes": 2_500_000, "operations": 310}


def wanted(name: str) -> Wanted:
    return Wanted(name=name, network=MobileViTConfig(widths=NANO), num_classes=10, side=64)


def verification(relative: float) -> Verification:
    output = OutputErrors(
        function="main",
        size=(64, 64),
        output="logits",
        spread=2.0,
        exact=1e-5,
        relative=relative,
        max_abs=2 * relative,
        mean_abs=1e-3,
        top1_agreement=0.75,
    )
    return Verification(
        package="m.mlpackage",
        specification_version=7,
        precision="fp16",
        num_operations=310,
        num_images=4,
        tolerance=0.1,
        exact_tolerance=1e-4,
        outputs=(output,),
        num_weights=90,
        changed=(),
        foreign=(),
        are_labels_known=True,
        false_claims=(),
        foreign_epsilons=(),
        first_inexact=None,
        first_imprecise=None,
        remedy=None,
        losses_by_kind=(),
        losses_by_operation=(),
    )


def test_every_package_has_a_row_and_what_is_wrong_a_sentence(tmp_path: Path) -> None:
    made = [
        MadePackage(wanted=wanted("good"), package=DESCRIBED, verification=verification(0.02)),
        MadePackage(wanted=wanted("off"), package=DESCRIBED, verification=verification(0.5)),
        MadePackage(wanted=wanted("foreign"), package=DESCRIBED, problem="no kernel for 'erfc'"),
        MadePackage(wanted=wanted("odd"), problem="the network cannot be converted"),
    ]
    text = write_packages(made, tmp_path).markdown()
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert [name for name in rows if name in ("good", "off", "foreign", "odd")] == ["good", "off", "foreign", "odd"]
    assert [cell.strip() for cell in rows["good"].strip("|").split("|")] == (
        ["good", "64", "2.5", "310", "1.0e-05", "2.0e-02", "1.0e-03", "75.0%", "verified"]
    )
    verdicts = ("NOT verified", "cannot be run", "not made")
    assert all(verdict in rows[name] for name, verdict in zip(("off", "foreign", "odd"), verdicts, strict=True))
    assert "off: logits at 64x64 is off by 5.0e-01 of its spread as fp16; 0.1 is allowed" in text
    assert "foreign: no kernel for 'erfc'" in text
    assert "odd: the network cannot be converted" in text
    assert count(made) == {"packages": 4, "verified": 1, "not_made": 1}
    assert all((tmp_path / file).stat().st_size for file in FILES)


def test_where_all_is_well_there_is_no_list(tmp_path: Path) -> None:
    made = [MadePackage(wanted=wanted("good"), package=DESCRIBED, verification=verification(0.02))]
    assert "What is wrong" not in write_packages(made, tmp_path).markdown()
