"""Templates proven before anything is sent: a host's files read, every name in them known, every kind rendered.

An alert that carries several keys must name each of them.

Here: finding faults with file and line, at the worker's start, for `octy doctor` and `octy mail`. Not here: rendering.
"""

from collections.abc import Iterator

from jinja2 import BaseLoader, ChoiceLoader, Environment, TemplateError, meta, nodes

from octy_middleware.errors import ConfigurationError
from octy_worker.mail.facts.models import Facts, IncidentFacts
from octy_worker.mail.renderer import MailRenderer, RenderedMail, TemplateRenderError, template_error
from octy_worker.mail.samples import samples
from octy_workflows.messages import MailKind

_CONTEXT = {"facts"}


def check_templates(renderer: MailRenderer, site: str) -> None:
    """Raise ConfigurationError that names every fault of the templates, a line each."""
    faults = find_template_problems(renderer, site)
    if faults:
        raise ConfigurationError("\n".join(faults))


def find_template_problems(renderer: MailRenderer, site: str) -> list[str]:
    """Return what is wrong with the templates, each fault once. Facts are tried when all files can be read.

    Our own files are not read, for a test does that, but tried: what they extend or include may be a host's.
    """
    templates, unreadable = renderer.templates, []
    trees: list[tuple[str, nodes.Template]] = []
    hosts, _ = _split_loaders(templates)
    files = [(loader, name) for loader in hosts for name in _template_names(loader)]
    for loader, name in files:
        try:
            trees.append(_parse(templates, loader, name))
        except (TemplateError, ValueError, OSError) as error:  # bytes that are no UTF-8; a file that can't be read
            unreadable.append(str(template_error(error, name)))
    read = unreadable + (list(_undefined_names(templates, trees)) if trees else [])
    return list(dict.fromkeys(read or (fault for kind in MailKind for fault in _render_samples(renderer, kind, site))))


def _split_loaders(templates: Environment) -> tuple[list[BaseLoader], BaseLoader]:
    """Return the host's, and ours."""
    assert isinstance(templates.loader, ChoiceLoader)
    *hosts, ours = templates.loader.loaders
    return hosts, ours


def _template_names(loader: BaseLoader) -> list[str]:
    return [name for name in loader.list_templates() if name.endswith((".txt", ".html"))]


def _parse(templates: Environment, loader: BaseLoader, name: str) -> tuple[str, nodes.Template]:
    source, filename, _ = loader.get_source(templates, name)
    templates.compile(source, name, filename)  # finds unknown filters, too
    return filename or name, templates.parse(source, name, filename)


def _undefined_names(templates: Environment, trees: list[tuple[str, nodes.Template]]) -> Iterator[str]:
    """Find names that nothing will ever have, also in branches that no sample takes.

    What any file, ours too, gives a name counts as known in all, because blocks see what the page around them sets.
    """
    _, ours = _split_loaders(templates)
    everything = [*trees, *(_parse(templates, ours, name) for name in _template_names(ours))]
    known = {*_CONTEXT, *templates.globals, *(name for _, tree in everything for name in _defined_names(tree))}
    for place, tree in trees:
        for name in sorted(meta.find_undeclared_variables(tree) - known):
            line = min(node.lineno for node in tree.find_all(nodes.Name) if node.name == name)
            yield str(TemplateRenderError(f"{place}, line {line}", f"nothing is called {name!r}"))


def _defined_names(tree: nodes.Template) -> Iterator[str]:
    yield from (node.name for node in tree.find_all(nodes.Name) if node.ctx != "load")
    yield from (node.name for node in tree.find_all(nodes.Macro))
    yield from (node.target for node in tree.find_all(nodes.Import))
    for node in tree.find_all(nodes.FromImport):
        yield from (name if isinstance(name, str) else name[1] for name in node.names)


def _render_samples(renderer: MailRenderer, kind: MailKind, site: str) -> Iterator[str]:
    for facts in samples(kind, site):
        try:
            rendered = renderer.render(facts)
        except TemplateRenderError as fault:
            yield str(fault)
        else:
            yield from _missing_keys(facts, rendered)


def _missing_keys(facts: Facts, rendered: RenderedMail) -> Iterator[str]:
    """Find parts of an alert that carries other keys' alerts and does not name each with its link."""
    others = facts.others if isinstance(facts, IncidentFacts) else ()
    for part, text in (("body.txt", rendered.text), ("body.html", rendered.html)):
        if any(other.public_key not in text or other.url not in text for other in others):
            why = "facts.others are further keys that this mail alerts for: show public_key and url of each"
            yield str(TemplateRenderError(f"{facts.kind}/{part}", why))
