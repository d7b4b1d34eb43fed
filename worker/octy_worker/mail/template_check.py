"""Checks mail templates before anything is sent: syntax, undefined names, and rendering of every kind.

Used at the worker's start, by `octy doctor` and `octy mail`. An alert for several keys must name each of them.
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
    """Raise ConfigurationError with one line for each problem of the templates."""
    problems = find_template_problems(renderer, site)
    if problems:
        raise ConfigurationError("\n".join(problems))


def find_template_problems(renderer: MailRenderer, site: str) -> list[str]:
    """Return the problems of the templates, each once. Samples are rendered only when all files are valid.

    Built-in files are not parsed here (a test does that), but rendered, because they may extend or include a host's.
    """
    templates, unreadable = renderer.templates, []
    trees: list[tuple[str, nodes.Template]] = []
    hosts, _ = _split_loaders(templates)
    files = [(loader, name) for loader in hosts for name in _template_names(loader)]
    for loader, name in files:
        try:
            place, tree = _parse(templates, loader, name)
            templates.compile(tree, name, place)  # also finds unknown filters
            trees.append((place, tree))
        except (TemplateError, ValueError, OSError) as error:  # invalid UTF-8; an unreadable file
            unreadable.append(str(template_error(error, name)))
    read = unreadable + (list(_undefined_names(templates, trees)) if trees else [])
    return list(
        dict.fromkeys(read or (problem for kind in MailKind for problem in _render_samples(renderer, kind, site)))
    )


def _split_loaders(templates: Environment) -> tuple[list[BaseLoader], BaseLoader]:
    """Return the host's loaders and the built-in one."""
    assert isinstance(templates.loader, ChoiceLoader)
    *hosts, ours = templates.loader.loaders
    return hosts, ours


def _template_names(loader: BaseLoader) -> list[str]:
    return [name for name in loader.list_templates() if name.endswith((".txt", ".html"))]


def _parse(templates: Environment, loader: BaseLoader, name: str) -> tuple[str, nodes.Template]:
    source, filename, _ = loader.get_source(templates, name)
    return filename or name, templates.parse(source, name, filename)


def _undefined_names(templates: Environment, trees: list[tuple[str, nodes.Template]]) -> Iterator[str]:
    """Yield undefined names, also in branches that no sample covers.

    A name that any file defines counts as defined in all, because blocks see the names of the page around them.
    """
    _, ours = _split_loaders(templates)
    everything = [*trees, *(_parse(templates, ours, name) for name in _template_names(ours))]
    known = {*_CONTEXT, *templates.globals, *(name for _, tree in everything for name in _defined_names(tree))}
    for place, tree in trees:
        for name in sorted(meta.find_undeclared_variables(tree) - known):
            line = min(node.lineno for node in tree.find_all(nodes.Name) if node.name == name)
            yield str(TemplateRenderError(f"{place}, line {line}", f"{name!r} is undefined"))


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
        except TemplateRenderError as error:
            yield str(error)
        else:
            yield from _missing_keys(facts, rendered)


def _missing_keys(facts: Facts, rendered: RenderedMail) -> Iterator[str]:
    """Yield parts of an alert for several keys that do not show each key with its link."""
    others = facts.others if isinstance(facts, IncidentFacts) else ()
    for part, text in (("body.txt", rendered.text), ("body.html", rendered.html)):
        if any(other.public_key not in text or other.url not in text for other in others):
            reason = "facts.others are more keys of this alert: show public_key and url of each"
            yield str(TemplateRenderError(f"{facts.kind}/{part}", reason))
