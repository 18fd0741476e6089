"""Writes ``tables.c``, the fixed probability tables of docs/FORMAT.md section 4: ``python csrc/make_tables.py``."""

from decimal import ROUND_HALF_EVEN, Decimal, getcontext
from pathlib import Path

getcontext().prec = 60
SCALES, FRACTIONS, STEPS = 64, 16, 257


def logistic(x: Decimal) -> Decimal:
    return 1 / (1 + (-x).exp())


def probability(value: Decimal) -> int:
    return max(1, min(65535, int((value * 65536).to_integral_value(ROUND_HALF_EVEN))))


def rows() -> tuple[list[list[int]], list[list[int]]]:
    first, step = [], []
    half = Decimal(1) / 2
    for i in range(SCALES):
        scale = (Decimal(i - 26) / 8).exp()
        first.append([probability(logistic((Decimal(f) / 16 - half) / scale)) for f in range(FRACTIONS)])
        offsets = [Decimal(j) / 16 for j in range(STEPS)]
        step.append([probability(logistic(-(x + half) / scale) / logistic(-(x - half) / scale)) for x in offsets])
    return first, step


def table(name: str, values: list[list[int]]) -> str:
    lines = []
    for row in values:
        text = [", ".join(map(str, row[k : k + 16])) for k in range(0, len(row), 16)]
        lines.append("    {" + ",\n     ".join(text) + "},")
    return f"const uint16_t {name}[{len(values)}][{len(values[0])}] = {{\n" + "\n".join(lines) + "\n};\n"


def main() -> None:
    first, step = rows()
    head = "/* Written by make_tables.py from docs/FORMAT.md section 4. Normative; do not edit. */\n"
    body = table("cwic_first", first) + "\n" + table("cwic_step", step)
    Path(__file__).with_name("tables.c").write_text(head + '\n#include "internal.h"\n\n' + body)


if __name__ == "__main__":
    main()
