"""A relay in a process of its own that says what it has claimed, and never gets an answer. No test."""

import asyncio
import sys
import time

from octy_middleware.db.database import Database
from octy_middleware.keys.keychain import Keychain
from octy_worker.outbox.relay import Relay
from octy_worker.settings import WorkerSettings


class Silent:
    """A client whose server never answers."""

    async def start_workflow(self, *_given: object, id: str, **_options: object) -> None:  # noqa: A002
        print(id, flush=True)  # noqa: T201  # to the test
        await asyncio.Event().wait()


def main(url: str) -> None:
    keys = {name: Keychain.generate() for name in ("peppers", "sealing_keys", "link_keys")}
    settings = WorkerSettings(database_url=url, **keys)  # type: ignore[arg-type]
    asyncio.run(Relay(Database(url), Silent(), settings, time.time).run())  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1])
