"""What support staff reads of a workflow in Temporal's Web UI.

Here: a headline and remarks, one a topic. Not here: names, addresses, keys; ids, counts and plain words only.
"""

from temporalio import workflow


class CurrentDetails:
    """The workflow's current details; a new remark takes the place of the old one on its topic."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._headline = ""
        self._remarks: dict[str, str] = {}

    def show(self, headline: str = "", **remarks: str) -> None:
        """Show a new headline, if given, and these remarks; an empty remark removes its topic."""
        self._headline = headline or self._headline
        self._remarks = {topic: text for topic, text in {**self._remarks, **remarks}.items() if text}
        lines = [f"**{self._headline}**", self._subject, *self._remarks.values()]
        workflow.set_current_details("\n- ".join(lines))
