"""A host app's own tables, with names that Octy has too, and relationships by name."""

import os

from sqlmodel import Field, Relationship, SQLModel

PREFIX = os.environ["HOST_TABLE_PREFIX"]  # perhaps none


class Account(SQLModel, table=True):
    __tablename__ = f"{PREFIX}account"
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(unique=True)
    nickname: str | None = None  # not in the first migration: the next autogenerate finds it
    jobs: list["Job"] = Relationship(back_populates="account")
    mails: list["Mail"] = Relationship(back_populates="account")


class Job(SQLModel, table=True):
    __tablename__ = f"{PREFIX}job"
    id: int | None = Field(default=None, primary_key=True)
    title: str
    account_id: int = Field(foreign_key=f"{PREFIX}account.id")
    account: Account = Relationship(back_populates="jobs")


class Mail(SQLModel, table=True):
    __tablename__ = f"{PREFIX}mail"
    id: int | None = Field(default=None, primary_key=True)
    subject: str
    account_id: int = Field(foreign_key=f"{PREFIX}account.id")
    account: Account = Relationship(back_populates="mails")
