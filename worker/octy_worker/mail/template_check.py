"""Templates proven before anything is sent: a host's files read, every name in them known, every kind rendered.

An alert that carries several keys must name each of them.

Here: finding faults with file and line, at the worker's start, for `octy doctor` and `octy mail`. Not here: rendering.
"""

from collections.abc import Iterator

from jinja2 import BaseLoader, ChoiceLoader, Environment, TemplateError, meta, nodes

from octy_middleware.errors import ConfigurationError
from octy_worker.mail.facts.shapes import CaseFacts, Facts
from octy_worker.mail.renderer import Letter, Letters, TemplateFaultError, fault_of
from octy_worker.mail.samples import samples
from octy_workflows.messages import MailKind

_GIVEN = {"facts"}


def prove(letters: Letters, site: str) -> None:
    """Raise ConfigurationError that names every fault of the templates, a line each."""
    faults = faults_of(letters, site)
    if faults:
        raise ConfigurationError("\n".join(faults))


def faults_of(letters: Letters, site: str) -> list[str]:
    """Return what is wrong with the templates, each fault once. Facts are tried when all files can be read.

    Our own files are not read, for a test does that, but tried: what they extend or include may be a host's.
    """
    templates, unreadable = letters.templates, []
    trees: list[tuple[str, nodes.Template]] = []
    hosts, _ = _loaders(templates)
    files = [(loader, name) for loader in hosts for name in _names(loader)]
    for loader, name in files:
        try:
            trees.append(_parsed(templates, loader, name))
        except (TemplateError, ValueError, OSError) as error:  # bytes that are no UTF-8; a file that can't be read
            unreadable.append(str(fault_of(error, name)))
    read = unreadable + (list(_unknown(templates, trees)) if trees else [])
    return list(dict.fromkeys(read or (fault for kind in MailKind for fault in _tried(letters, kind, site))))


def _loaders(templates: Environment) -> tuple[list[BaseLoader], BaseLoader]:
    """Return the host's, and ours."""
    assert isinstance(templates.loader, ChoiceLoader)
    *hosts, ours = templates.loader.loaders
    return hosts, ours


def _names(loader: BaseLoader) -> list[str]:
    return [name for name in loader.list_templates() if name.endswith((".txt", ".html"))]


def _parsed(templates: Environment, loader: BaseLoader, name: str) -> tuple[str, nodes.Template]:
    source, filename, _ = loader.get_source(templates, name)
    templates.compile(source, name, filename)  # finds unknown filters, too
    return filename or name, templates.parse(source, name, filename)


def _unknown(templates: Environment, trees: list[tuple[str, nodes.Template]]) -> Iterator[str]:
    """Find names that nothing will ever have, also in branches that no sample takes.

    What any file, ours too, gives a name counts as known in all, because blocks see what the page around them sets.
    """
    _, ours = _loaders(templates)
    everything = [*trees, *(_parsed(templates, ours, name) for name in _names(ours))]
    known = {*_GIVEN, *templates.globals, *(name for _, tree in everything for name in _named(tree))}
    for place, tree in trees:
        for name in sorted(meta.find_undeclared_variables(tree) - known):
            line = min(node.lineno for node in tree.find_all(nodes.Name) if node.name == name)
            yield str(TemplateFaultError(f"{place}, line {line}", f"nothing is called {name!r}"))


def _named(tree: nodes.Template) -> Iterator[str]:
    yield from (node.name for node in tree.find_all(nodes.Name) if node.ctx != "load")
    yield from (node.name for node in tree.find_all(nodes.Macro))
    yield from (node.target for node in tree.find_all(nodes.Import))
    for node in tree.find_all(nodes.FromImport):
        yield from (name if isinstance(name, str) else name[1] for name in node.names)


def _tried(letters: Letters, kind: MailKind, site: str) -> Iterator[str]:
    for facts in samples(kind, site):
        try:
            letter = letters.render(facts)
        except TemplateFaultError as fault:
            yield str(fault)
        else:
            yield from _left_out(facts, letter)


def _left_out(facts: Facts, letter: Letter) -> Iterator[str]:
    """Find parts of an alert that carries other keys' alerts and does not name each with its link."""
    others = facts.others if isinstance(facts, CaseFacts) else ()
    for part, text in (("body.txt", letter.text), ("body.html", letter.html)):
        if any(other.public_key not in text or other.url not in text for other in others):
            why = "facts.others are further keys that this mail alerts for: show public_key and url of each"
            yield str(TemplateFaultError(f"{facts.kind}/{part}", why))
