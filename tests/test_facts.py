"""A fact agrees with what is printed, or says that it does not: proved by changing the paper, and the network."""

from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal
from typing import get_args

import pytest

from experiments.costs import (
    FACTS,
    LATENCIES,
    PACKAGES,
    rivals,
    table1_detection,
    table3_mobile,
    table4_architecture,
    table6_patch_size,
    table8_memory,
    table11_devices,
)
from experiments.costs.networks import MOBILEVIT_XS, MOBILEVIT_XS_B, V100
from mvlab.facts import CostRow, CostTable, Fact, FactTable, Printed
from mvlab.measure.facts import cost_of, find_facts
from mvlab.measure.timings import package_name, packaged_rows
from mvlab.networks import (
    XXS,
    MobileViTConfig,
    ReferenceConfig,
    TimmConfig,
    TimmName,
    TorchvisionConfig,
    TorchvisionName,
)
from mvlab.report.facts import count_verdicts, facts_page

Facts = list[tuple[FactTable, list[Fact]]]


@pytest.fixture(scope="module")
def facts() -> Facts:
    """Of all tables."""
    return [(table, find_facts(table)) for table in FACTS]


@pytest.mark.parametrize(
    ("text", "ours", "is_rounded"),
    [
        ("2.3 M", 2_317_848, True),
        ("2.3 M", 2_349_999, True),
        ("2.3 M", 2_350_000, False),
        ("2.4 M", 2_350_000, True),
        ("25 M", 25_557_032, False),
        ("26 M", 25_557_032, True),
        ("0.7 G", 703_228_736, True),
        ("784 KiB", 784 * 1024, True),
        ("31 KiB", 30.625 * 1024, True),
        ("784 kB", 784 * 1024, False),
        ("16", 16, True),
        ("16", 17, False),
    ],
)
def test_a_number_agrees_in_as_many_digits_as_are_printed(text: str, ours: float, is_rounded: bool) -> None:
    assert Printed(text).is_rounded(ours) is is_rounded


@pytest.mark.parametrize("text", ["", "M", "2,3 M", "2.3M", "2.3 T", "-1 M", "2.3 M M"])
def test_what_is_no_printed_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write e\.g\. \"2\.3 M\"; units are M, G, kB, KiB"):
        Printed(text)


def test_verdicts() -> None:
    def fact(paper: str | None, ours: float | None) -> Fact:
        return Fact(row="", quantity="", paper=Printed(paper) if paper else None, ours=ours)

    assert fact("1.3 M", 1_272_024).verdict == "agrees"
    assert fact("1.2 M", 1_272_024).verdict == "differs"
    assert fact("1.3 M", None).verdict == "not built"
    assert fact(None, 1_272_024).verdict == "not printed"


def test_every_difference_has_its_reason(facts: Facts) -> None:
    assert not [fact for _, rows in facts for fact in rows if fact.verdict in ("differs", "not built") and not fact.why]


def test_what_agrees_is_counted(facts: Facts) -> None:
    """A change here changes what the project says of the paper."""
    assert count_verdicts(facts) == {"facts": 289, "agree": 210, "differ": 22, "not_built": 1, "not_printed": 56}


def test_these_differ_and_no_others(facts: Facts) -> None:
    differing = {
        (table.name, fact.row, fact.quantity) for table, rows in facts for fact in rows if fact.verdict == "differs"
    }
    pit = {(table, "PiT", "parameters") for table in ("table3", "table9", "table11")}
    resized = {(table, "MobileViT-XS (8,4,2)", "multiply-adds") for table in ("table9", "table10a")}
    patches = {("table6", row, "parameters") for row in ("2,2,2", "3,3,3", "4,4,4", "8,4,2")}
    others = {
        ("table2", "MobileNetv1", "parameters"),
        ("table5", "ResNet-50", "parameters"),
        ("table10c", "MobileNetv2", "parameters"),
        ("table10c", "MobileNetv2", "multiply-adds"),
    }
    assert {each for each in differing if each[0] != "table8"} == pit | resized | patches | others


def test_the_reasons_are_calculations() -> None:
    """That are done again here, in the order of the tables."""
    twice = [(11_145_301, "11.2"), (4_847_272, "4.9")]  # DeepLabv3 on MobileNetv1, PiT-Ti
    for exact, printed in twice:
        once = (Decimal(exact) / 10**6).quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert str(once.quantize(Decimal("0.1"), ROUND_HALF_UP)) == printed
    assert 25_557_032 // 10**6 == 25
    unresized, resized = (cost_of(network, 1000, 224).macs for network in (MOBILEVIT_XS, MOBILEVIT_XS_B))
    assert (round(unresized / 1e9, 3), round(resized / 1e9, 3)) == (0.703, 0.766)
    deeplab = cost_of(ReferenceConfig(name="deeplabv3_mobilenet_v2"), 21, 513)
    assert round(deeplab.macs / 1e9, 2) == 5.36
    assert [channels * (224 // stride) ** 2 * 2 // 100 for stride, channels in table8_memory.CHANNELS.items()] == [
        *(4014, 2007, 1003, 627, 313)  # tenths of kB
    ]


def test_every_detector_of_table_1_is_built_and_agrees() -> None:
    counted = {fact.row: fact for fact in find_facts(table1_detection.TABLE) if fact.quantity == "parameters"}
    assert {fact.verdict for fact in counted.values()} == {"agrees"}
    assert {row: round((counted[row].ours or 0) / 1e6, 2) for row in ("MixNet", "MNASNet", "ResNet50 (SSD-300)")} == {
        **{"MixNet": 4.47, "MNASNet": 4.91},
        "ResNet50 (SSD-300)": 22.89,
    }


def test_every_rival_that_can_be_built_is_in_a_table() -> None:
    networks = [row.network for table in FACTS if isinstance(table, CostTable) for row in table.rows]
    named = {network.name for network in networks if isinstance(network, TimmConfig | TorchvisionConfig)}
    assert named == {*get_args(TimmName), *get_args(TorchvisionName)}


def test_what_the_paper_does_not_print_of_a_rival_is_counted() -> None:
    facts = {(fact.row, fact.quantity): fact for fact in find_facts(rivals.TABLE)}
    assert len(facts) == 2 * len(rivals.TABLE.rows)
    assert {fact.verdict for fact in facts.values()} == {"not printed"}
    assert facts["MixNet-S", "parameters"].ours == 4_134_606
    assert facts["MixNet-S", "multiply-adds"].how == ""
    assert "G with attention" in facts["PiT-XS", "multiply-adds"].how


def test_table_11s_second_time_on_a_gpu_is_of_no_network_that_is_built() -> None:
    (row,) = [row for row in table11_devices.TABLE.rows if row.ms == {V100: 0.47}]
    assert (row.network, row.timed_at) == (None, 256)


def test_table_4_agrees_in_every_layer() -> None:
    facts = find_facts(table4_architecture.TABLE)
    assert {fact.verdict for fact in facts} == {"agrees"}
    assert len(facts) == 3 * (12 * 3 + 3 * 2 + 3)


@pytest.mark.parametrize(
    ("index", "change"),
    [(0, {"channels": (8, 16, 16)}), (3, {"repeat": 3}), (5, {"dims": (65, 96, 144)}), (7, {"depth": 3})],
    ids=["channels", "repeat", "d", "L"],
)
def test_another_architecture_in_table_4_is_noticed(index: int, change: dict[str, object]) -> None:
    table = table4_architecture.TABLE
    layers = list(table.layers)
    layers[index] = replace(layers[index], **change)  # type: ignore[arg-type]
    assert "differs" in {fact.verdict for fact in find_facts(replace(table, layers=tuple(layers)))}


def test_another_network_under_table_4_is_noticed() -> None:
    table = table4_architecture.TABLE
    (_, parameters), *_ = table.networks.values()
    wider = replace(XXS, mv2=(16, 32))
    changed = replace(table, networks={"XXS": (MobileViTConfig(widths=wider), parameters)})
    differing = {fact.row for fact in find_facts(changed) if fact.verdict == "differs"}
    assert {"XXS: MV2, down to 4", "XXS: MV2 at 4 (1 of 2)", "XXS: MV2 at 4 (2 of 2)"} <= differing


def test_another_number_in_a_cost_table_is_noticed() -> None:
    table = table3_mobile.TABLE
    row = replace(table.rows[0], parameters=Printed("3.6 M"), macs=Printed("0.4 G"))
    assert [fact.verdict for fact in find_facts(replace(table, rows=(row,)))] == ["differs", "differs"]


def test_multiply_adds_are_held_against_the_simplest_convention_that_gives_them() -> None:
    how = {fact.row: fact.how for fact in find_facts(table3_mobile.TABLE) if fact.quantity == "multiply-adds"}
    assert how == {
        "MobileNetv2": "",
        "DeiT": "with attention",
        "PiT": "with attention",
        "MobileViT-XS (2,2,2)": "layers alone",
    }


def test_table_8s_mobilevit_column_agrees_and_both_readings_of_the_other_are_shown() -> None:
    verdicts: dict[str, list[str]] = {}
    for fact in find_facts(table8_memory.TABLE):
        verdicts.setdefault(fact.row, []).append(fact.verdict)
    assert set(verdicts["MobileViT-XS"]) == {"agrees"}
    assert verdicts["MobileNetv2, as printed"].count("agrees") == 1
    assert set(verdicts["MobileNetv2, its inverted residuals"]) == {"differs"}


def test_a_network_that_nobody_has_is_listed_and_not_dropped() -> None:
    row = CostRow(name="ESPNetv2", network=None, parameters=Printed("2.3 M"), macs=Printed("0.1 G"))
    table = CostTable(name="t", title="T", task="classification", image_size=224, rows=(row,))
    facts = find_facts(table)
    assert [fact.verdict for fact in facts] == ["not built", "not built"]
    assert facts_page([(table, facts)]).markdown().count("not built") == 2


def test_tables_and_their_rows_have_names_of_their_own() -> None:
    tables = [*FACTS, *(table for table in LATENCIES if table not in FACTS)]
    assert len({table.name for table in tables}) == len(tables)
    for table in LATENCIES:
        assert len({row.name for row in table.rows}) == len(table.rows)


def test_a_package_is_of_one_network_and_size() -> None:
    networks: dict[str, set[object]] = {}
    for table, row, network in packaged_rows(PACKAGES):
        networks.setdefault(package_name(table, row), set()).add((network, row.timed_at or table.image_size))
    assert all(len(uses) == 1 for uses in networks.values())
    assert package_name(table6_patch_size.TABLE, table6_patch_size.TABLE.rows[3]) == "mobilevit-s-8,4,2-256"
