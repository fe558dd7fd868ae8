"""What ``mesh up`` shows on standard output: one line per part, then how to use the mesh."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from cli.readiness import Ready
from cli.supervisor import Part, describe


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What people need to use a mesh.

    reachable: the broker listens to other machines. open: no API key is asked for. dashboard: the
    gateway has a page at its root.
    """

    base_url: str
    model: str
    nats: str
    creds: Path
    reachable: bool
    open: bool
    dashboard: bool = True

    def lines(self) -> Iterator[str]:
        """Yield what to print."""
        body = f'{{"model": "{self.model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
        join = f"mesh worker --nats {self.nats} --creds {self.creds} --model MODEL.gguf"
        yield from ("", "Try it:")
        yield f"  curl {self.base_url}/chat/completions \\"
        if not self.open:
            yield '    -H "authorization: Bearer $KEY" \\'
        yield f"    -H 'content-type: application/json' -d '{body}'"
        key = "any API key" if self.open else "with one of your API keys"
        yield f"OpenAI clients: base URL {self.base_url}, {key}"
        if self.dashboard:
            yield f"Dashboard: {self.base_url.removesuffix('/v1')}/"
        if self.reachable:
            yield "Another machine joins with this line, once the credentials file is there:"
        else:
            yield "More workers join with this line, from other machines after a restart with"
            yield f"--nats-listen 0.0.0.0:{self.nats.rpartition(':')[2]}:"
        yield f"  {join}"
        yield "Ctrl-C drains and stops."


class Report:
    """Prints the parts as they come up; a live line each while they are starting.

    A context manager: the live lines end with it. Without a terminal only the lines that stay.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def broker(self, url: str, state: str, seconds: float) -> None:
        """Say that the broker answers."""
        self._up("broker", url, f"state in {state}", seconds)

    def starting(self, part: Part, text: str) -> None:
        """Show what a part that is not ready yet does."""
        line = f"{part.name:<8} {escape(text) or 'starting'}"
        if part.name in self._tasks:
            self._live.update(self._tasks[part.name], description=line)
        else:
            self._tasks[part.name] = self._live.add_task(line, total=None)

    def ready(self, part: Part, notice: Ready, seconds: float) -> None:
        """Say that a part serves."""
        self._forget(part)
        self._up(part.name, notice.address, notice.text, seconds)

    def lost(self, part: Part, status: int, pause: float) -> None:
        """Say that a part died and comes back."""
        self._forget(part)
        self._print(f"[red]✗[/] {part.name:<8} {describe(status)}; again in {pause:g} s")

    def ended(self, part: Part) -> None:
        """Say that a part has ended in good order."""
        self._forget(part)
        self._print(f"  {part.name:<8} stopped")

    def note(self, text: str) -> None:
        """Print a line of advice."""
        self._print(f"[yellow]![/] {text}")

    def usage(self, usage: Usage) -> None:
        """Say how to use the mesh, in lines that can be pasted."""
        for line in usage.lines():
            self._console.out(line, highlight=False)

    def stopping(self) -> None:
        """Say that the mesh is ending."""
        self._print("Draining; Ctrl-C again to hurry.")

    def _up(self, name: str, address: str, text: str, seconds: float) -> None:
        self._print(
            f"[green]✓[/] {name:<8} {address:<28} {escape(text)}  [dim]{seconds * 1000:.0f} ms[/]"
        )

    def _forget(self, part: Part) -> None:
        if part.name in self._tasks:
            self._live.remove_task(self._tasks.pop(part.name))

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)
