"""Text that Temporal's Web UI shows as a workflow's current details. It holds no names, addresses or keys."""

from temporalio import workflow


class CurrentDetails:
    """A headline, the subject and one line for each topic."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._headline = ""
        self._lines: dict[str, str] = {}

    def update(self, headline: str = "", **lines: str) -> None:
        """Set the headline, if given, and the lines of these topics; an empty line removes its topic."""
        self._headline = headline or self._headline
        self._lines = {topic: text for topic, text in {**self._lines, **lines}.items() if text}
        workflow.set_current_details("\n- ".join([f"**{self._headline}**", self._subject, *self._lines.values()]))
