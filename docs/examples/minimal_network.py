"""A live network in plain Python: one site, three cells, two counters, one lever. No fork, no faults, no seed.

Try it:    twinloop network check "python docs/examples/minimal_network.py"
"""

# fmt: off
import json
import math
import sys

SITE = "SubNetwork=1,ManagedElement=tiny1"
CELLS = [f"{SITE},GNBDUFunction=1,NRCellDU={i}" for i in (1, 2, 3)]
CARRIERS = [f"{SITE},GNBDUFunction=1,NRSectorCarrier={i}" for i in (1, 2, 3)]
LAYOUT = {"name": "tiny-v1", "cell": ["RRU.PrbTotDl", "DRB.PdcpSduVolumeDL"]}
PERIOD_S = 60
power = dict.fromkeys(CARRIERS, 20000.0)  # mW
applied = set()
now_ms = None


def write(**line):
    print(json.dumps(line), flush=True)  # noqa: T201


def configuration(objects=None):
    return [{"object": o, "attribute": "configuredMaxTxPower", "value": p} for o, p in power.items()
            if objects is None or o in objects]


def step():
    global now_ms
    now_ms += 1000 * PERIOD_S
    hour = now_ms / 3_600_000 % 24
    cells = []
    for i, (cell, carrier) in enumerate(zip(CELLS, CARRIERS, strict=True)):
        load = 0.45 + 0.3 * math.sin((hour - 12 + i) / 24 * 2 * math.pi)
        load = min(1.0, load * (20000 / power[carrier]) ** 0.2)
        cells.append({"cell": cell, "values": [round(100 * load, 2), round(load * 4e6, 1)]})
    write(type="event", topic="telemetry.pm", event={
        "event_id": f"pm-{now_ms}", "managed_element": SITE, "period_end_ms": now_ms, "granularity_s": PERIOD_S,
        "layout": LAYOUT["name"], "cells": cells})
    write(type="period_end", period_end_ms=now_ms)


def command(line):
    bad = [c["object"] for c in line["changes"] if c["object"] not in power or line["managed_element"] != SITE
           or c["attribute"] != "configuredMaxTxPower" or not 1 <= float(c["value"]) <= 40000]
    status = "DUPLICATE" if line["id"] in applied else "REJECTED" if bad else "APPLIED"
    if status == "APPLIED":
        applied.add(line["id"])
        power.update({c["object"]: float(c["value"]) for c in line["changes"]})
    write(type="ack", id=line["id"], status=status, reason=f"cannot set {bad}" if bad else "", time_ms=now_ms)


write(type="hello", protocol="twinloop-line/1", network={"name": "tiny", "version": "1"}, period_s=PERIOD_S,
      levers=["configuredMaxTxPower"], layouts=[LAYOUT], capabilities=[], configuration=configuration(),
      topology={"network_id": "tiny", "granularity_s": PERIOD_S, "cells": [
          {"cell": c, "x_m": 0, "y_m": 0, "height_m": 25, "azimuth_deg": a, "carrier_ghz": 3.5, "prbs": 51,
           "max_tx_power_mw": 40000} for c, a in zip(CELLS, (0, 120, 240), strict=True)]})
for text in sys.stdin:
    line = json.loads(text)
    if line["type"] == "start":
        now_ms = line["start_time_ms"]
        write(type="started", time_ms=now_ms)
    elif line["type"] == "step":
        step()
    elif line["type"] == "command":
        command(line)
    elif line["type"] == "query":
        write(type="configuration", id=line["id"], values=configuration(line.get("objects")), time_ms=now_ms)
    elif line["type"] == "stop":
        break
    else:
        write(type="error", id=line.get("id"), code="unsupported", message=f"no {line['type']} here")
