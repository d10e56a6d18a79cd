"""Names of points in plots neither lie on each other nor leave the axes."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from mvlab.report.labels import GAP, Box, place_labels

FRAME = (50.0, 40.0, 650.0, 440.0)
HIGHEST = 16.0
MOST = int((FRAME[3] - FRAME[1]) / (2 * HIGHEST))
point = st.tuples(st.floats(FRAME[0], FRAME[2]), st.floats(FRAME[1], FRAME[3]))
size = st.tuples(st.floats(1, FRAME[2] - FRAME[0]), st.floats(1, HIGHEST))


def overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@given(st.lists(st.tuples(point, size), max_size=MOST))
def test_names_lie_on_no_other_name_and_in_the_frame(
    named: list[tuple[tuple[float, float], tuple[float, float]]],
) -> None:
    boxes = place_labels([at for at, _ in named], [of for _, of in named], FRAME)
    for (_, (width, height)), box in zip(named, boxes, strict=True):
        left, bottom, right, top = box
        assert (right, top) == (left + width, bottom + height)
        assert left >= FRAME[0]
        assert bottom >= FRAME[1]
        assert right <= FRAME[2] + 1e-9
        assert top <= FRAME[3] + 1e-9
    assert not any(overlap(*pair) for pair in combinations(boxes, 2))


def test_names_at_one_point_stay_around_it() -> None:
    boxes = place_labels([(300.0, 200.0)] * 6, [(80.0, 10.0)] * 6, FRAME)
    assert boxes[0][:2] == (300 + GAP, 200 + GAP)
    assert all(max(abs(box[0] - 300), abs(box[1] - 200)) < 100 for box in boxes)


def test_a_name_covers_no_obstacle_while_there_is_another_place() -> None:
    legend = (300.0, 200.0, 500.0, 300.0)
    (box,) = place_labels([(310.0, 190.0)], [(80.0, 12.0)], FRAME, [legend])
    assert not overlap(box, legend)
    (box,) = place_labels([(310.0, 190.0)], [(80.0, 12.0)], FRAME, [FRAME])
    assert box[:2] == (310 + GAP, 190 + GAP)
