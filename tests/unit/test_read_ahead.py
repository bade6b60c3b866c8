"""Items made in a thread ahead of who reads them: the same items, bounded, and the thread ends with the reader."""

import threading
from collections.abc import Iterator

import pytest

from bot.runtime.env import read_ahead


def counted(made: list[int], count: int) -> Iterator[int]:
    for number in range(count):
        made.append(number)
        yield number


def test_the_items_are_the_same() -> None:
    assert list(read_ahead(iter(range(1000)))) == list(range(1000))
    assert list(read_ahead(iter(()))) == []


def test_they_are_made_in_another_thread() -> None:
    def where() -> Iterator[int]:
        yield threading.get_ident()

    assert list(read_ahead(where())) != [threading.get_ident()]


def test_no_more_are_made_than_asked_for() -> None:
    """As many as wait, the one on its way, and the one that was taken."""
    made: list[int] = []
    items = read_ahead(counted(made, 100), bound=3)
    for taken in range(10):
        assert next(items) == taken
        assert len(made) <= taken + 1 + 3 + 1
    items.close()  # type: ignore[attr-defined]


def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield from (1, 2, 3)
        raise OSError("cut off")

    items = read_ahead(failing(), bound=1)
    assert [next(items) for _ in range(3)] == [1, 2, 3]
    with pytest.raises(OSError, match="cut off"):
        next(items)


@pytest.mark.parametrize("taken", [1, 5])
def test_leaving_early_ends_the_thread(taken: int) -> None:
    before = threading.active_count()
    made: list[int] = []
    items = read_ahead(counted(made, 10**6))
    for _ in range(taken):
        next(items)
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
    assert len(made) < 20
