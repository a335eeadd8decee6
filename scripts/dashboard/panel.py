"""What a panel shows, without the names of Grafana."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stat", "graph", "stacked", "heatmap", "table"]
Steps = tuple[tuple[float | None, str], ...]
"""Lower bounds of colours; the first has none."""

ANY_IS_BAD: Steps = ((None, "green"), (1, "red"))
NONE_IS_BAD: Steps = ((None, "red"), (1, "green"))
NO_JUDGEMENT: Steps = ((None, "blue"),)
SHARE_OF_LIMIT: Steps = ((None, "green"), (0.6, "orange"), (0.8, "red"))


@dataclass(frozen=True)
class Panel:
    """A panel. `queries` are PromQL with the legend of each."""

    title: str
    queries: tuple[tuple[str, str], ...]
    text: str
    """What it shows and when to act."""
    unit: str = "short"
    kind: Kind = "graph"
    width: int = 8
    steps: Steps = NO_JUDGEMENT


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]
