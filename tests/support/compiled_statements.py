"""One cache of compiled SQL statements for all engines of a test process.

SQLAlchemy compiles a statement again for each dialect object, and each engine has its own. Tests make thousands of
engines: compiling was a quarter of their CPU.
"""

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.default import DefaultDialect

_compiled: dict[object, object] = {}


def share_compiled_statements() -> None:
    """Make dialects of one kind and server version equal as cache keys, and give all engines the same cache."""
    DefaultDialect.__eq__ = _is_same_dialect  # type: ignore[method-assign]
    DefaultDialect.__hash__ = _hash_of_class  # type: ignore[method-assign]
    event.listen(Engine, "engine_connect", _use_shared_cache)


def _is_same_dialect(one: DefaultDialect, other: object) -> bool:
    if one is other:
        return True
    return type(one) is type(other) and one.__dict__.get("server_version_info") == vars(other).get(
        "server_version_info"
    )


def _hash_of_class(dialect: DefaultDialect) -> int:
    return hash(type(dialect))


def _use_shared_cache(connection: Connection) -> None:
    if connection.engine.get_execution_options().get("compiled_cache") is None:
        connection.engine.update_execution_options(compiled_cache=_compiled)
        connection.execution_options(compiled_cache=_compiled)
