"""The stack's one port: opened, and closed as if the machine were away."""

import asyncio

from aiohttp import web

_CUT_SECONDS = 0.1  # whoever asked for it is answered before


class Door:
    """
    Where connections to *app* come in.

    Args:
        port: 0 takes a free one, which stays the same then.
    """

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self._host = host
        self._site: web.TCPSite | None = None
        self.port = port

    async def set_up(self) -> None:
        await self._runner.setup()

    async def tear_down(self) -> None:
        """Close everything."""
        await self._runner.cleanup()

    async def open(self) -> None:
        """Raises OSError when the port is taken."""
        if self._site is None:
            site = web.TCPSite(self._runner, self._host, self.port)
            await site.start()
            self._site = site
            self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Let nobody in any more; who is in may stay."""
        if self._site is not None:
            site, self._site = self._site, None
            await site.stop()

    async def slam(self) -> None:
        """Refuse new connections, and cut those that there are a moment later."""
        await self.close()
        asyncio.get_running_loop().call_later(_CUT_SECONDS, self._cut)

    def _cut(self) -> None:
        server = self._runner.server
        for connection in server.connections if server is not None else ():
            if isinstance(connection.transport, asyncio.Transport):
                connection.transport.abort()
