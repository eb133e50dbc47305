"""The command line."""

from pathlib import Path

import click

from harvest.errors import HarvestError
from harvest.load import load
from harvest.render import html
from harvest.report import lines


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--html", "as_html", is_flag=True, help="Write an HTML table instead of text.")
def main(path: Path, as_html: bool) -> None:
    """Print the plan that PATH describes."""
    try:
        plan = load(path)
    except HarvestError as error:
        raise click.ClickException(str(error)) from error
    click.echo(html(plan) if as_html else "\n".join(lines(plan)))
