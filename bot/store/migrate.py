"""Brings a ledger's database to the newest schema, by the migrations beside the package."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from bot.domain.errors import StorageError

_MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def upgrade(engine: Engine, to: str = "head") -> None:
    """Run every migration that the database has not seen, up to version `to`.

    Raises:
        StorageError: the migrations are not where the package expects them.
    """
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, to)


def versions(engine: Engine) -> tuple[str | None, str | None]:
    """Return the schema version that the database has, and the newest there is."""
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return current, ScriptDirectory.from_config(_config()).get_current_head()


def all_versions() -> list[str]:
    """Return every schema version there is, oldest first."""
    return [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def _config() -> Config:
    if not (_MIGRATIONS / "env.py").is_file():
        raise StorageError(f"no migrations in {_MIGRATIONS}; install the bot from its checkout (pip install -e .)")
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config
