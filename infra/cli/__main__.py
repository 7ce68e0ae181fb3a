"""``python -m infra.cli``: the same as the command `twinloop`."""

from infra.cli.main import app

app()
