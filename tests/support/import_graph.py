"""`python -m support.import_graph`: count packages, modules and import cycles of the three packages; exit 1 on a cycle.

Imports for type checking alone count as well. A cycle is one between modules, or between packages below a root.
"""

import sys
from graphlib import CycleError, TopologicalSorter

from grimp import build_graph

ROOTS = ("octy_middleware", "octy_workflows", "octy_worker")


def find_cycle(imports: dict[str, set[str]]) -> list[str]:
    """Return the names along one cycle, or none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def package_imports(modules: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return which package below a root imports which; a module that lies beside packages counts as one."""
    imports: dict[str, set[str]] = {}
    for module, imported in modules.items():
        home = _package(module)
        imports.setdefault(home, set()).update({_package(one) for one in imported} - {home})
    return imports


def _package(module: str) -> str:
    return ".".join(module.split(".")[:2])


def main() -> int:
    graph = build_graph(*ROOTS, cache_dir=None)
    modules = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    packages = package_imports(modules)
    cycle = find_cycle(modules) or find_cycle(packages)
    nested = sum(bool(graph.find_children(module)) for module in modules)
    sys.stdout.write(
        f"octy: {len(modules)} modules in {nested} packages, {sum(map(len, packages.values()))} imports between "
        f"packages, " + (f"an import cycle: {' → '.join(cycle)}" if cycle else "0 import cycles") + "\n"
    )
    return 1 if cycle else 0


if __name__ == "__main__":
    sys.exit(main())
