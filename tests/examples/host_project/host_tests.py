"""The host's own tests, as they were before Octy came."""

import os

import pytest
from fastapi.testclient import TestClient
from host_app import app, engine
from models import PREFIX, Account, Mail
from sqlmodel import Session, SQLModel, select


@pytest.fixture
def client():
    with TestClient(app) as client:
        yield client
    engine.dispose()


def test_the_host_knows_its_own_tables_only():
    assert set(SQLModel.metadata.tables) == {f"{PREFIX}{name}" for name in ("account", "job", "mail")}


def test_relationships_by_name_lead_to_the_hosts_models(client):
    assert client.post("/open/accounts/ada").json() == 1
    assert client.get("/open/accounts/ada/jobs").json() == ["first", "second"]
    with Session(engine) as session:
        mail = session.exec(select(Mail).join(Account).where(Account.name == "ada")).one()
        assert mail.account.jobs[0].title == "first"


def test_keys_are_asked_for_where_octy_is_in_front(client):
    client.post("/open/accounts/eve")
    expected = 401 if "OCTY_DATABASE_URL" in os.environ else 200
    assert client.get("/accounts/eve/jobs").status_code == expected
