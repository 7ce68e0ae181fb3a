"""`twinloop explain ID`."""

from typing import Annotated

import typer

from infra.cli.errors import reports_errors, stdout
from infra.cli.options import Json, print_json


@reports_errors
def explain(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="Id of a strategy, job, plan or command.")],
    as_json: Json = False,
) -> None:
    """Tell the story of a change: who proposed it, on which revision, scenarios, verdict, stages, outcomes, alerts."""
    from infra.explaining import explain as tell
    from infra.rendering.explain import story_page
    from infra.settings import load_settings
    from infra.storage.database import Database

    settings = load_settings()
    with Database(settings.database.location(), "twinloop explain") as database, database.transaction() as connection:
        story = tell(connection, settings.network_id, wanted)
    if as_json:
        print_json(story.model_dump(mode="json"))
    else:
        stdout.print(story_page(story))
