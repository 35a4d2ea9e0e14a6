"""Outcomes for a person: a table and a sentence."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from function.local.run.files import LocalFile
from function.local.run.run import Outcome

WIDTH_WITHOUT_TERMINAL = 120  # characters


def console(*, stderr: bool = False) -> Console:
    plain = Console(stderr=stderr, highlight=False)
    if plain.is_terminal:
        return plain
    return Console(stderr=stderr, highlight=False, width=WIDTH_WITHOUT_TERMINAL)


def table(outcomes: Sequence[Outcome], out: Path) -> Table:
    """One row per upload: what became of it, how large, how much of it is subject, how long it took."""
    rows = Table(box=None, header_style="bold", pad_edge=False)
    for heading, side in (("upload", "left"), ("outcome", "left"), ("result", "left")):
        rows.add_column(heading, justify=side, overflow="fold")  # type: ignore[arg-type]
    for heading in ("pixels", "subject", "total"):
        rows.add_column(heading, justify="right", no_wrap=True)
    for outcome in sorted(outcomes, key=lambda one: one.file.name):
        rows.add_row(*row(outcome, out))
    return rows


def row(outcome: Outcome, out: Path) -> list[str]:
    message = outcome.message
    if not message.outputs:
        return [escape(outcome.file.name), f"[red]{message.code}[/red]", escape(message.reason), "", "", ""]
    output = message.outputs[0]
    return [
        escape(outcome.file.name),
        f"[green]{message.status}[/green]",
        escape(str(out / output.name)),
        f"{output.width}x{output.height}",
        f"{message.subject.coverage:.1%}",
        f"{message.timings_ms.total:,.0f} ms",
    ]


def line(outcome: Outcome, out: Path) -> str:
    """One outcome on a line of its own, without markup."""
    message = outcome.message
    if not message.outputs:
        return f"{outcome.file.name}  {message.code}  {message.reason}"
    output = message.outputs[0]
    return f"{outcome.file.name}  {message.status}  {out / output.name}  {output.width}x{output.height}"


def summary(outcomes: Sequence[Outcome], left: Sequence[LocalFile], seconds: float) -> str:
    """The run in a sentence or two."""
    completed = sum(outcome.message.status == "completed" for outcome in outcomes)
    total = len(outcomes) + len(left)
    sentences = [
        f"{total} upload{'s' * (total != 1)}: {completed} completed, {len(outcomes) - completed} failed, "
        f"{len(left)} without outcome, in {seconds:.1f} s."
    ]
    if any(outcome.message.model.id == "embedded" for outcome in outcomes):
        sentences.append("Cut by the embedded demo model; --set MODEL=ZhengPeng7/BiRefNet-portrait is the real one.")
    return "\n".join(sentences)
