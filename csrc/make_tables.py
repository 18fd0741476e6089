"""Writes ``tables.c``, the fixed tables of docs/FORMAT.md section 4: ``python csrc/make_tables.py``."""

from decimal import ROUND_HALF_EVEN, Decimal, getcontext
from pathlib import Path

getcontext().prec = 60
SCALES, FRACTIONS, STEPS = 64, 16, 257
UNIT, LIMIT = 256, 2816  # log odds are integers in 1/256; the tables' and the sums' are below this in magnitude


def logistic(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def nearest(value: Decimal) -> int:
    return int(value.to_integral_value(ROUND_HALF_EVEN))


def log_odds(p: Decimal) -> int:
    return max(1 - LIMIT, min(LIMIT - 1, nearest(UNIT * (p / (1 - p)).ln())))


def rows() -> tuple[list[list[int]], list[list[int]]]:
    first, step = [], []
    half = Decimal(1) / 2
    for i in range(SCALES):
        scale = (Decimal(i - 26) / 8).exp()
        first.append([log_odds(logistic((Decimal(f) / 16 - half) / scale)) for f in range(FRACTIONS)])
        offsets = [Decimal(j) / 16 for j in range(STEPS)]
        step.append([log_odds(logistic(-(x + half) / scale) / logistic(-(x - half) / scale)) for x in offsets])
    return first, step


def probabilities() -> list[int]:
    """Of the log odds -LIMIT .. LIMIT - 1, two to an entry."""
    middles = ((Decimal(2 * j - LIMIT) + Decimal(1) / 2) / UNIT for j in range(LIMIT))
    return [max(1, min(65535, nearest(65536 * logistic(z)))) for z in middles]


def lines(values: list[int]) -> str:
    return ",\n     ".join(", ".join(map(str, values[k : k + 16])) for k in range(0, len(values), 16))


def table(name: str, values: list[list[int]]) -> str:
    body = "\n".join("    {" + lines(row) + "}," for row in values)
    return f"const int16_t {name}[{len(values)}][{len(values[0])}] = {{\n{body}\n}};\n"


def main() -> None:
    first, step = rows()
    likely = probabilities()
    head = "/* Written by make_tables.py from docs/FORMAT.md section 4. Normative; do not edit. */\n"
    body = table("cwic_first", first) + "\n" + table("cwic_step", step)
    body += f"\nconst uint16_t cwic_probabilities[{len(likely)}] = {{\n     {lines(likely)},\n}};\n"
    Path(__file__).with_name("tables.c").write_text(head + '\n#include "decisions.h"\n\n' + body)


if __name__ == "__main__":
    main()
