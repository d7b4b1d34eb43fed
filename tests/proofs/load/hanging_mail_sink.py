"""The mail sink, but DATA for recipients whose address begins with "hang" gets no response for 30 s: a program."""

import asyncio
import sys

from aiosmtpd.smtp import SMTP, Envelope, Session

from octy_worker.dev import mail_sink


class HangingSink(mail_sink.SinkHandler):
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if any(recipient.startswith("hang") for recipient in envelope.rcpt_tos):
            await asyncio.sleep(30.0)
            return "451 4.3.0 that took long"
        return await super().handle_DATA(server, session, envelope)


if __name__ == "__main__":
    mail_sink.SinkHandler = HangingSink  # type: ignore[misc]
    sys.exit(mail_sink.main(sys.argv[1:]))
