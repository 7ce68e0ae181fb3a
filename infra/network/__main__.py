"""``python -m infra.network``: the reference network as an executable that speaks the line protocol."""

import argparse
import sys
from pathlib import Path
from typing import Any

from infra.exceptions import InfraError
from infra.line_protocol.server import serve
from infra.network.parameters import STEPS_S, Parameters
from infra.network.service import ReferenceNetwork


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.network", description=__doc__)
    parser.add_argument("--network-id", default="reference", help="network_id of its events")
    parser.add_argument("--parameters", type=Path, help="parameters file (TOML); the shipped one by default")
    parser.add_argument("--sites", type=int, choices=(7, 19), help="7 or 19 sites: 21 or 57 cells")
    parser.add_argument("--users", type=int, help="number of users")
    parser.add_argument("--regions", type=int, help="parts into which the topology is cut")
    parser.add_argument("--step-s", type=float, choices=STEPS_S, help="time step, seconds")
    parser.add_argument("--collection", choices=("delta", "cumulative"), help="how cumulative counters are reported")
    parser.add_argument(
        "--slices", action=argparse.BooleanOptionalAction, default=None, help="whether cells carry slices"
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="another parameter")
    parser.add_argument("--state-dir", type=Path, help="where forks are saved")
    parser.add_argument("--from-state", type=Path, help="continue a forked state; other options have no effect")
    return parser


def _overrides(arguments: argparse.Namespace) -> dict[str, Any]:
    named = {
        "layout.sites": arguments.sites,
        "layout.users": arguments.users,
        "layout.regions": arguments.regions,
        "time.step_s": arguments.step_s,
        "reporting.collection": arguments.collection,
        "slices.enabled": arguments.slices,
    }
    overrides = {name: value for name, value in named.items() if value is not None}
    for text in arguments.set:
        name, _, value = text.partition("=")
        overrides[name] = float(value) if "." in value else int(value)
    return overrides


def main() -> int:
    """Run until stop or the end of input."""
    arguments = _parser().parse_args()
    try:
        if arguments.from_state:
            network = ReferenceNetwork.resume(arguments.from_state, arguments.state_dir)
        else:
            parameters = Parameters.load(arguments.parameters, _overrides(arguments))
            network = ReferenceNetwork(parameters, arguments.network_id, arguments.state_dir)
        serve(network, sys.stdin, sys.stdout)
    except InfraError as error:
        print(error, file=sys.stderr)  # noqa: T201 - stderr is where a person looks; stdout is the protocol's
        return 1
    except BrokenPipeError:
        return 0  # whoever drove the network has gone
    return 0


if __name__ == "__main__":
    sys.exit(main())
