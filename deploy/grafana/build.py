"""`python -m deploy.grafana.build`: write each dashboard's JSON, which Grafana is given.

The JSON is kept in the repository, for whoever runs Grafana has no Python of ours; `deploy/check`
holds that it is current.
"""

import json
from pathlib import Path
from typing import Any, Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.boards import actors_and_queues, inventory, postgresql, rabbitmq, service

FOLDER: Final = Path(__file__).parent / "dashboards"
BOARDS: Final = {
    "service": service.BOARD,
    "actors-and-queues": actors_and_queues.BOARD,
    "inventory": inventory.BOARD,
    "postgresql": postgresql.BOARD,
    "rabbitmq": rabbitmq.BOARD,
}


def documents() -> dict[str, str]:
    """The text of each file by its name."""
    return {f"{name}.json": _document(board.build()) for name, board in BOARDS.items()}


def _document(board: Any) -> str:
    # Grafana numbers panels at every import: numbered here, links to a panel stay what they are.
    for number, panel in enumerate(board.panels, start=1):
        panel.id_val = number
    return json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def main() -> None:
    for name, text in documents().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
