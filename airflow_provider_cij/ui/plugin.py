"""The plugin that puts the pages into the Airflow UI. Every Airflow process imports it, so it loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

STATIC = Path(__file__).parent / "static"
# Airflow 3.1 takes no relative address for a module. The UI's own base path is read from here, too.
_BASE_PATH = urlsplit(conf.get("api", "base_url", fallback="/")).path.rstrip("/")


class StaticFiles:
    """The pages' files as an ASGI application, which loads Starlette at its first request: in the API server alone.

    A browser asks each time whether a file has changed, so that pages and package agree after an upgrade.
    """

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a file."""
        if self._app is None:
            from starlette.applications import Starlette
            from starlette.staticfiles import StaticFiles as Files

            self._app = Starlette()
            self._app.mount("/", Files(directory=STATIC))

        async def send_revalidated(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"cache-control", b"no-cache"))
            await send(message)

        await self._app(scope, receive, send_revalidated)


class CijPlugin(AirflowPlugin):
    """The CIJ page in the navigation, and the tab on a DAG run."""

    name = "cij"
    fastapi_apps = [{"name": "CIJ pages", "app": StaticFiles(), "url_prefix": "/cij"}]  # noqa: RUF012 - as in the base
    react_apps = [  # noqa: RUF012
        {
            "name": "CIJ",
            "bundle_url": f"{_BASE_PATH}/cij/page.js",
            "destination": "nav",
            "url_route": "cij",
            "nav_top_level": True,
            "icon": "cij/icon.svg",
            "icon_dark_mode": "cij/icon-dark.svg",
        },
        {
            "name": "CIJ tasks",
            "bundle_url": f"{_BASE_PATH}/cij/run.js",
            "destination": "dag_run",
            "url_route": "cij-tasks",
        },
    ]
