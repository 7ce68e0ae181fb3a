"""Plans as a list for the terminal and as JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from infra.rendering.words import short, state_style
from loops.outer.plan import Plan
from schemas.plans import PlanState


def plans_table(plans: Sequence[Plan]) -> RenderableType:
    """One line a plan."""
    if not plans:
        return Text("no plans yet; `twinloop status` shows how far each role has come", style="dim")
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in ("plan", "state", "stage", "strategy", "cells", "since", "why"):
        table.add_column(column, no_wrap=column in ("plan", "state", "since"))
    for plan in plans:
        state = plan.state or PlanState.PENDING
        cells = [short(c) for c in plan.cells]
        table.add_row(
            plan.plan_id, Text(state.value, style=state_style(state)), plan.stage_name, plan.strategy.title,
            ", ".join(cells[:3]) + (" …" if len(cells) > 3 else ""), _clock(plan.created_ms),
            plan.cause or plan.reason,
        )  # fmt: skip
    return table


def plans_json(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """What a program wants to know of each plan."""
    return [
        {
            "plan_id": plan.plan_id,
            "strategy_id": plan.strategy.strategy_id,
            "job_id": plan.job_id,
            "state": plan.state,
            "stage": plan.stage_name,
            "title": plan.strategy.title,
            "cells": list(plan.cells),
            "created_ms": plan.created_ms,
            "reason": plan.reason,
            "cause": plan.cause,
        }
        for plan in plans
    ]


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
