"""Relays in a process of its own, one for each database, that say what they claim and never get an answer. No test."""

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


async def main(*urls: str) -> None:
    keys = {name: Keychain.generate() for name in ("peppers", "sealing_keys", "link_keys")}
    settings = [WorkerSettings(database_url=url, **keys) for url in urls]  # type: ignore[arg-type]
    relays = [Relay(Database(one.database_url), Silent(), one, time.time) for one in settings]  # type: ignore[arg-type]
    await asyncio.gather(*(relay.run() for relay in relays))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
