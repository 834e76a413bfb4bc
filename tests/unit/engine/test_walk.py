"""Log-probabilities of continuations, on a toy model whose probabilities are known."""

import asyncio
import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srlm.engine import may_go_on
from srlm.engine.walk import common_start, log_probabilities

DIGITS = range(10)
END = 10  # any token that ends a number
START = [77, 78]


class Toy:
    """Writes digits with the probabilities of `table`: digits so far -> probabilities of 0-9; the rest ends it."""

    def __init__(self, table: dict[str, list[float]]) -> None:
        self.table, self.asked = table, []  # type: ignore[var-annotated]

    def next(self, said: str) -> list[float]:
        found = self.table.get(said, [0.0] * 10)
        return [*found, 1 - sum(found)]

    async def next_tokens(self, context: list[int], wanted: list[int]) -> dict[int, float]:
        self.asked.append((context, wanted))
        found = self.next("".join(map(str, context[len(START) :])))
        return {token: math.log(found[token]) if found[token] else -math.inf for token in wanted}


def walk(toy: Toy, numbers: list[str]) -> list[float]:
    paths = [START + [int(digit) for digit in number] for number in numbers]
    ends = [True] * len(paths)
    logs = asyncio.run(log_probabilities(paths, len(START), ends, list(DIGITS), toy.next_tokens))
    return [math.exp(log) for log in logs]


def exactly(toy: Toy, number: str) -> float:
    """The probability that the toy writes this number and ends it."""
    found = 1.0
    for place, digit in enumerate(number):
        found *= toy.next(number[:place])[int(digit)]
    return found * toy.next(number)[END]


def test_one_has_nothing_of_ten() -> None:
    toy = Toy({"": [0, 0.8, 0.1, 0, 0, 0, 0, 0, 0, 0.1], "1": [0.75, 0, 0, 0, 0, 0, 0, 0, 0, 0]})
    found = walk(toy, [str(number) for number in range(1, 11)])
    assert found == pytest.approx([0.2, 0.1, 0, 0, 0, 0, 0, 0, 0.1, 0.6])


def test_a_number_that_goes_on_past_the_scale_is_outside() -> None:
    toy = Toy({"": [0, 0, 0, 0, 1.0, 0, 0, 0, 0, 0], "4": [0, 0, 0, 0, 0, 0.25, 0, 0, 0, 0]})
    assert walk(toy, ["3", "4", "5"]) == pytest.approx([0, 0.75, 0])


def test_one_request_for_each_inner_node_and_none_for_what_is_improbable() -> None:
    toy = Toy({"": [0, 0.9, 0, 0.0005, 0, 0, 0, 0, 0, 0]})
    walk(toy, ["1", "2", "3", "10", "30"])
    assert [context[2:] for context, _ in toy.asked] == [[], [1], [3]]  # 3: only because 30 is one of the choices
    assert toy.asked[0][1] == [1, 2, 3]
    assert sorted(toy.asked[1][1]) == list(DIGITS)
    assert toy.asked[2][1] == [0]


probabilities = st.lists(st.floats(0, 0.09), min_size=10, max_size=10)


@given(st.fixed_dictionaries({"".join(said): probabilities for n in range(3) for said in product("019", repeat=n)}))
def test_it_is_the_probability_of_the_whole_number(table: dict[str, list[float]]) -> None:
    toy = Toy(table)
    numbers = [str(number) for number in range(101)]
    assert walk(toy, numbers) == pytest.approx([exactly(toy, number) for number in numbers], abs=1e-3)
    assert sum(walk(toy, numbers)) <= 1 + 1e-9


def test_choices_that_are_no_numbers_may_go_on() -> None:
    toy = Toy({"": [0, 0, 0, 0, 1.0, 0, 0, 0, 0, 0], "4": [0, 0, 0, 0, 0, 0.25, 0, 0, 0, 0]})
    [found] = asyncio.run(log_probabilities([[*START, 4]], len(START), [False], list(DIGITS), toy.next_tokens))
    assert found == pytest.approx(0)


def test_only_a_number_that_another_choice_begins_with_has_an_end_to_ask_for() -> None:
    assert may_go_on([" 1", " 2", " 10", " 100"]) == [True, False, True, False]
    assert may_go_on(["A", "AB", "1", "1a"]) == [False] * 4


def test_common_start() -> None:
    assert common_start([[1, 2, 3], [1, 2, 4, 5], [1, 2]]) == 2
    assert common_start([[1], [2]]) == 0
