"""Prometheus' port of the front door, in gunicorn's master: what all its processes counted.

Each process writes its figures into files of a folder that the master made; the master adds them
up for whoever asks. So any process may die, and no count goes back.
"""

import logging
import os
import shutil
import tempfile
import threading
from typing import Any, Final

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
TRY_AGAIN_S: Final = 2.0


class MasterExposition:
    """The folder and the port of one master. prometheus_client chooses, when it is imported and by
    the folder's variable, where values live: so it is imported late."""

    def __init__(self) -> None:
        self._folder: str | None = None
        self._served: Any = None
        self._closed = threading.Event()

    def open_folder(self) -> None:
        """Make the folder, once for all that a reload does. Without one there are no metrics."""
        if self._folder is None:
            try:
                self._folder = tempfile.mkdtemp(prefix="holdfast-web-metrics-")
            except OSError as error:
                logger.warning("No metrics of the front door: %s", error)
                return
            os.environ[FOLDER_VARIABLE] = self._folder

    def start(self, host: str, port: int) -> None:
        """Listen; a port that is taken is no reason to take no orders."""
        if self._folder is None:
            return
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

        from actors.exposition import Exposition  # noqa: PLC0415

        collector = MultiProcessCollector(None, self._folder)  # type: ignore[no-untyped-call]
        self._served = Exposition(host, port, collector)
        if not self._served.start():
            threading.Thread(target=self._try_again, name="metrics", daemon=True).start()

    def _try_again(self) -> None:
        """Until the port comes free: of a master that was killed it may be a while."""
        while not self._closed.wait(TRY_AGAIN_S) and not self._served.start():
            pass

    def leave(self) -> None:
        """In a process that was forked off: its copy of the port would hold it taken."""
        if self._served is not None:
            self._served.leave()

    def forget(self, pid: int) -> None:
        """A process is gone: what was under way in it is not any more."""
        if self._folder is not None:
            from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415

            mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        self._closed.set()
        if self._served is not None:
            self._served.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


#: That of this master.
exposition = MasterExposition()
