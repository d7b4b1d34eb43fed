"""Counting of calls."""

import math

from support.calls import calls_per_request, count_calls


def twice(value):
    return 2 * value


def numbers():
    yield 1
    yield 2


def test_functions_of_python_and_of_c_are_counted():
    calls = count_calls(lambda: [twice(math.sqrt(number)) for number in (1, 4)])
    assert (calls[f"{__name__}.twice"], calls["sqrt"]) == (2, 2)


def test_each_step_into_a_generator_is_a_call():
    assert count_calls(lambda: list(numbers()))[f"{__name__}.numbers"] == 3


def test_calls_of_a_request_leave_out_what_happens_once():
    def run(requests):
        math.sqrt(2)
        for _ in range(requests):
            twice(twice(1))

    assert calls_per_request(run) == {f"{__name__}.twice": 2}
