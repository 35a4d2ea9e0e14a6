"""Outcomes for a person: a table, single lines, a summary."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from function.local.run.files import LocalFile, is_image
from function.local.run.runner import FileOutcome
from shared.errors import UnsupportedMedia
from shared.subscriber.messages import CompletionMessage

WIDTH_WITHOUT_TERMINAL = 120  # characters
NAMES_SHOWN = 5  # of files that are no images
REVIEW = "to be reviewed"
DEMO = "Cut by the embedded demo model; --set MODEL=ZhengPeng7/BiRefNet-portrait is the real one."


def console(*, stderr: bool = False) -> Console:
    plain = Console(stderr=stderr, highlight=False)
    if plain.is_terminal:
        return plain
    return Console(stderr=stderr, highlight=False, width=WIDTH_WITHOUT_TERMINAL)


def table(outcomes: Sequence[FileOutcome], folder: Path) -> Table:
    """One row per image: outcome, results, size, the subject's share, confidence, time.

    Files that are no images have no row.
    """
    rows = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("upload", "outcome", "result"):
        rows.add_column(heading, justify="left", overflow="fold")
    for heading in ("pixels", "subject", "confidence", "total"):
        rows.add_column(heading, justify="right", no_wrap=True)
    for outcome in sorted(outcomes, key=lambda one: one.file.name):
        if _is_image(outcome):
            rows.add_row(*row(outcome, folder))
    return rows


def row(outcome: FileOutcome, folder: Path) -> list[str]:
    message = outcome.message
    notes = [f"[dim]{escape(f'{name}: {text}')}[/dim]" for name, text in message.notes.items()]
    if not message.outputs:
        shown = "\n".join([escape(message.reason), *notes])
        return [escape(outcome.file.name), f"[red]{message.code}[/red]", shown, "", "", "", ""]
    output = message.outputs[0]
    return [
        escape(outcome.file.name),
        f"[green]{message.status}[/green]" + f"\n[yellow]{REVIEW}[/yellow]" * message.review,
        "\n".join([*(escape(str(path)) for path in result_paths(outcome, folder)), *notes]),
        f"{output.width}x{output.height}",
        f"{message.subject.coverage:.1%}",
        _confidence(message),
        f"{message.timings_ms.total:,.0f} ms",
    ]


def line(outcome: FileOutcome, folder: Path) -> str:
    """One outcome on one line, without markup."""
    message = outcome.message
    if not message.outputs:
        return f"{outcome.file.name}  {message.code}  {message.reason}"
    output = message.outputs[0]
    return (
        f"{outcome.file.name}  {message.status}  {'  '.join(map(str, result_paths(outcome, folder)))}  "
        f"{output.width}x{output.height}"
        + f"  ({REVIEW})" * message.review
        + "".join(f"  ({name}: {text})" for name, text in message.notes.items())
    )


def result_paths(outcome: FileOutcome, folder: Path) -> list[Path]:
    """The path of each output, the cutout's first, written as the command line wrote the folder."""
    top = folder.resolve()
    return [
        folder / outcome.results.get(output.role, top / output.name).relative_to(top)
        for output in outcome.message.outputs
    ]


def _confidence(message: CompletionMessage) -> str:
    return f"{message.subject.confidence:.0%}" if message.subject.confidence else ""  # 0 = unknown


def summary(
    outcomes: Sequence[FileOutcome], left: Sequence[LocalFile], seconds: float, *, folder: Path, overwrite: bool = False
) -> str:
    """The run in a few sentences, one a line."""
    completed = sum(outcome.message.status == "completed" for outcome in outcomes)
    total = len(outcomes) + len(left)
    lines = [
        f"{total} upload{'s' * (total != 1)}: {completed} completed, {len(outcomes) - completed} failed, "
        f"{len(left)} without outcome, in {seconds:.1f} s."
    ]
    if others := [outcome.file.name for outcome in outcomes if not _is_image(outcome)]:
        lines.insert(0, _not_images(others))
    if not overwrite and (numbered := sum(_numbered(outcome, folder) for outcome in outcomes)):
        lines.append(f"{numbered} got a number: {folder} held other files of their names. --overwrite replaces them.")
    if any(outcome.message.outputs and outcome.message.model.id == "embedded" for outcome in outcomes):
        lines.append(DEMO)
    return "\n".join(lines)


def _is_image(outcome: FileOutcome) -> bool:
    """An image of a kind that is not read keeps its row: its reason says more than that it is no image."""
    return outcome.message.code != UnsupportedMedia.code or is_image(outcome.file.path)


def _not_images(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:NAMES_SHOWN])
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    verb = "file is no image" if len(names) == 1 else "files are no images"
    return f"{len(names)} {verb} ({UnsupportedMedia.code}): {shown}{more}"


def _numbered(outcome: FileOutcome, folder: Path) -> bool:
    names = {output.role: output.name for output in outcome.message.outputs}
    return any(path != folder.resolve() / names[role] for role, path in outcome.results.items())
