"""The job panel: static files for a browser that speaks to `/api` as the signed-in user. It holds no secret."""

from worker.web.panel.config import PanelConfig
from worker.web.panel.serving import routes

__all__ = ["PanelConfig", "routes"]
