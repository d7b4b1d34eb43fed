"""A FastAPI app with SQLModel; with Octy's middleware when its database is set."""

import os
from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, FastAPI
from models import Account, Job, Mail
from sqlmodel import Session, create_engine, select

app = FastAPI()
engine = create_engine(os.environ["HOST_DATABASE_URL"])
if "OCTY_DATABASE_URL" in os.environ:
    from octy_middleware import OctyASGIMiddleware

    app.add_middleware(OctyASGIMiddleware, exempt_paths=("/open/*",), require_https=False)


def session() -> Iterator[Session]:
    with Session(engine) as found:
        yield found


SessionOf = Annotated[Session, Depends(session)]


@app.post("/open/accounts/{name}")
def add(name: str, session: SessionOf) -> int:
    account = Account(name=name, jobs=[Job(title="first"), Job(title="second")], mails=[Mail(subject="hello")])
    session.add(account)
    session.commit()
    return len(session.exec(select(Account)).all())


@app.get("/accounts/{name}/jobs")
@app.get("/open/accounts/{name}/jobs")
def jobs(name: str, session: SessionOf) -> list[str]:
    account = session.exec(select(Account).where(Account.name == name)).one()
    return [job.title for job in account.jobs if job.account is account]
