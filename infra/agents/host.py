"""What runs in an agent's process: load the agent, then answer one view after another.

Messages on the inherited socket are JSON, but for the view (pickled, from the parent). The first says that the agent is
loaded: ``{}``, or why not: ``{"error": "..."}``. A view is answered by ``{"strategies": [...]}`` or an error. What the
agent prints goes to the log of the parent's process.
"""

import json
import os
import pickle
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

from infra.ownership import when_gone
from loops.agents.agent import load_agents

_WORDS = 1500


def serve(connection: Connection, full_name: str) -> None:
    """Answer until the parent closes its end."""
    try:
        (agent,) = load_agents([full_name])
    except Exception as error:
        _send(connection, _failure(error))
        return
    _send(connection, {})
    while True:
        try:
            request = connection.recv_bytes()
        except EOFError:
            return
        try:
            # The view comes from the parent process alone; nobody else holds the socket.
            answer: dict[str, Any] = {"strategies": _said(agent.propose(pickle.loads(request)))}  # noqa: S301
        except Exception as error:
            answer = _failure(error)
        _send(connection, answer)


def _send(connection: Connection, said: dict[str, Any]) -> None:
    connection.send_bytes(json.dumps(said).encode())


def _failure(error: Exception) -> dict[str, Any]:
    traceback.print_exc()
    return {"error": f"{type(error).__name__}: {error}"[:_WORDS]}


def _said(proposals: object) -> list[str]:
    """Proposals as JSON; what is none is left for the parent to refuse."""
    if not isinstance(proposals, list | tuple):
        raise TypeError(f"it answers with a {type(proposals).__name__}, not with a list of strategies")
    return [p.model_dump_json() if hasattr(p, "model_dump_json") else json.dumps(repr(p)) for p in proposals]


def main() -> None:
    """``python -m infra.agents.host FILE-DESCRIPTOR OWNER NAME``."""
    descriptor, owner, full_name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    threading.Thread(target=when_gone, args=(owner, lambda: os._exit(1)), daemon=True).start()
    with Connection(descriptor) as connection:
        serve(connection, full_name)


if __name__ == "__main__":
    main()
