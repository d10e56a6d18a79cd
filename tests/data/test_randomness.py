"""Draws are named by what they are for, and by nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from mvlab.data.randomness import Stream, generator

names = st.tuples(
    st.integers(0, 2**32 - 1), st.sampled_from(Stream), st.integers(0, 300), st.integers(0, 2**40), st.integers(0, 64)
)


def draw(name: tuple) -> list[float]:
    return generator(*name).random(3).tolist()


@given(names, names)
def test_equal_names_have_equal_draws_and_others_do_not(one: tuple, other: tuple) -> None:
    assert draw(one) == draw(one)
    if one != other:
        assert draw(one) != draw(other)


def test_neighbouring_samples_are_independent() -> None:
    first = [generator(0, Stream.AUGMENTATION, 0, sample).random() for sample in range(2_000)]
    assert abs(sum(first) / len(first) - 0.5) < 0.03


def test_draws_never_change() -> None:
    """Golden: another value would silently change every published run."""
    assert generator(1, Stream.ORDER, 2, 3, 4).integers(0, 1_000_000, 3).tolist() == [1056, 920783, 395173]
