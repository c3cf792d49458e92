"""Commands about plan files alone; nothing is sent."""

import json
from pathlib import Path

import click

from orchestrator.errors import PlanError
from orchestrator.plan.load import load_plan


@click.command()
@click.argument("plans", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PLAN...")
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
def validate(plans: tuple[Path, ...], *, strict: bool) -> int:
    """Check PLANs offline: every error with file, line, column, what was found and what would be right.

    Example: orchestrator validate plans/*.yaml
    """
    wrong = False
    for path in plans:
        try:
            plan_file = load_plan(path)
        except PlanError as error:
            wrong = True
            for problem in error.problems:
                click.echo(str(problem), err=True)
            continue
        for warning in plan_file.warnings:
            click.echo(f"{'error' if strict else 'warning'}: {warning}", err=True)
        if strict and plan_file.warnings:
            wrong = True
            continue
        click.echo(f"{path}: ok")
    return 2 if wrong else 0


@click.command()
@click.argument("what", type=click.Choice(["plan", "report"]))
def schema(what: str) -> None:
    """Print the JSON Schema of plan files, or of report.json.

    Example: orchestrator schema plan > plan.schema.json
    """
    if what == "plan":
        from orchestrator.plan.schema import plan_schema  # noqa: PLC0415 - one of two

        document: object = plan_schema()
    else:
        from orchestrator.reports.json import report_schema  # noqa: PLC0415

        document = report_schema()
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
