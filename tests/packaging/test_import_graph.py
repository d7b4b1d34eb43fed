"""`make check` counts import cycles: it finds one that is there."""

import pytest
from support.import_graph import find_cycle, package_imports


@pytest.mark.parametrize(
    ("imports", "cycle"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, 0),
        ({"a": {"b"}, "b": {"a"}}, 2),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}}, 3),
    ],
)
def test_cycle_is_found(imports: dict[str, set[str]], cycle: int) -> None:
    assert len(set(find_cycle(imports))) == cycle


def test_packages_that_import_each_other_by_different_modules_are_a_cycle() -> None:
    modules = {"w.a.one": {"w.b.one"}, "w.b.one": set[str](), "w.b.two": {"w.a.two"}, "w.a.two": set[str]()}
    assert find_cycle(modules) == []
    assert package_imports(modules) == {"w.a": {"w.b"}, "w.b": {"w.a"}}
    assert find_cycle(package_imports(modules)) != []
