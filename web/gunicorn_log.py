"""gunicorn's logger, which writes as all of ours do."""

from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from actors import logs


class WebLogger(Logger):  # type: ignore[misc]
    """gunicorn's, with its own handlers replaced; uvicorn's worker takes them from here."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        handler = logs.configure("web")
        for log in (self.error_log, self.access_log):
            log.handlers = [handler]
