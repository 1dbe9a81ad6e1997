"""/v1/commands: what became of a change."""

from typing import Any, Final

from web.answers import Reads, send
from web.ids import COMMAND, ORDER, IdMint
from web.problems import not_found
from web.views import command_view


class Command:
    """GET shows the outcome of a command; an order's id is the id of the command that placed it."""

    scopes: Final = {"GET": ("orders:read", "inventory:read")}

    def __init__(self, found: Reads, mint: IdMint) -> None:
        self._reads = found
        self._mint = mint

    async def on_get(self, _req: Any, resp: Any, command_id: str) -> None:
        kinds = [kind for kind in (COMMAND, ORDER) if self._mint.is_ours(kind, command_id)]
        if not kinds:
            raise not_found(f"There is no command {command_id[:64]}.")
        kind = "place_order" if kinds == [ORDER] else None
        send(resp, command_view(command_id, await self._reads.command(command_id), kind))
