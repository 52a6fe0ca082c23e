"""Draws docs/images/imports.svg, who imports whom among the parts of kfood, from the sources: run it after a change."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "imports.svg"
BOX, GAP, LEVEL = 112, 18, 74


def imports() -> dict[str, set[str]]:
    """Part of kfood (module or package) → the other parts that any file of it imports, within functions too."""
    found: dict[str, set[str]] = {}
    for folder, top in ((ROOT / "kfood", None), (ROOT / "export", "export"), (ROOT / "tools", "tools")):
        for path in sorted(folder.rglob("*.py")):
            part = top or path.relative_to(folder).parts[0].removesuffix(".py")
            if part == "__init__":
                continue
            used = found.setdefault(part, set())
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                else:
                    continue
                used.update(name.split(".")[1] for name in names if name.startswith("kfood.") and name.count("."))
    return {part: {name for name in used if name in found} - {part} for part, used in found.items()}


def svg(used: dict[str, set[str]]) -> str:
    """The picture: each part below all that import it; an arrow is left out where a longer way says the same."""
    importers = {part: [other for other in used if part in used[other]] for part in used}
    below: dict[str, set[str]] = {}  # all that a part imports, directly or not
    level: dict[str, int] = {}

    def reached(part: str) -> set[str]:
        if part not in below:
            below[part] = used[part].union(*(reached(name) for name in used[part]))
        return below[part]

    def depth(part: str) -> int:
        if part not in level:
            level[part] = 1 + max((depth(other) for other in importers[part]), default=-1)
        return level[part]

    for part in used:
        reached(part), depth(part)
    rows = [[part for part in sorted(used) if level[part] == row] for row in range(max(level.values()) + 1)]
    width = max(len(row) for row in rows) * (BOX + GAP) + GAP
    height = len(rows) * LEVEL
    place: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        middles = {part: [place[other][0] for other in importers[part]] or [width / 2] for part in row}
        row.sort(
            key=lambda part, middles=middles: sum(middles[part]) / len(middles[part])
        )  # below the middle of its importers
        start = (width - len(row) * (BOX + GAP) + GAP) / 2
        place.update({part: (start + i * (BOX + GAP), number * LEVEL + 20) for i, part in enumerate(row)})
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="14">',
        '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#888"/></marker>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for part in sorted(used):
        for name in sorted(used[part]):
            if not any(name in below[other] for other in used[part]):
                (x1, y1), (x2, y2) = place[part], place[name]
                x1, x2 = x1 + BOX / 2, x2 + BOX / 2
                y1, middle = y1 + 32, (y1 + 32 + y2) / 2
                curve = f"M{x1:g} {y1:g}C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"
                lines.append(f'<path d="{curve}" fill="none" stroke="#888" marker-end="url(#tip)"/>')
    for part, (x, y) in sorted(place.items()):
        lines.append(f'<rect x="{x:g}" y="{y:g}" width="{BOX}" height="32" rx="6" fill="#fdf3e7" stroke="#b5651d"/>')
        lines.append(f'<text x="{x + BOX / 2:g}" y="{y + 21:g}" text-anchor="middle" fill="#222">{part}</text>')
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(svg(imports()), encoding="utf-8")
