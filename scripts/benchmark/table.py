"""The table that is printed: what shoebox takes, what stands beside it, the ratio of the two."""
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Table:
    """Rows in the order they were measured."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)

    def add(self, what: str, shoebox: str, beside: str = "", ratio: str = "", aim: str = "") -> None:
        self.rows.append((what, shoebox, beside, ratio, aim))
        print("  ".join(part for part in (what, shoebox, beside, ratio and f"ratio {ratio}") if part), flush=True)

    def seconds(self, what: str, own: list[float], name: str, other: list[float], aim: str, note: str = "") -> None:
        """Two commands that took so long, each several times."""
        self.add(what, f"{span(own, ' s')}{note}", f"{span(other, ' s')} ({name})", f"{median(own) / median(other):.2f}", aim)

    def rates(self, what: str, own: list[float], unit: str, name: str, other: list[float], aim: str) -> None:
        """Two rates: more is better, and so is a larger ratio."""
        self.add(what, span(own, unit), f"{span(other, unit)} ({name})", f"{median(own) / median(other):.2f}", aim)

    def markdown(self) -> str:
        head = ("what", "shoebox", "beside", "ratio", "aim")
        lines = [head, ("---",) * len(head), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def span(values: list[float], unit: str) -> str:
    """The median, and the range where it was measured more than once."""
    middle = number(median(values)) + unit
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}–{number(max(values))})"


def number(value: float) -> str:
    """Three digits of a number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"
