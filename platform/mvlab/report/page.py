"""Report as blocks, which can be shown as markdown and as HTML."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mvlab.markdown import markdown_table

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { border-bottom-width: 2px; } tbody tr:hover { background: var(--soft); }
figure { margin: 1rem 0; } img { max-width: 100%; background: white; } figcaption { font-size: .85rem; opacity: .75; }
.reproduced { color: #1a7f37; font-weight: 600; } .contradicted { color: #cf222e; font-weight: 600; }
"""


KINDS = {".png": "png", ".jpg": "jpeg"}
"""Kind of a picture by the suffix of its file."""


@dataclass(frozen=True, slots=True)
class Heading:
    """Heading of a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """Table with text in the first column, and numbers or short words in the others."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """PNG or JPEG file with a caption."""

    path: Path
    caption: str


Block = Heading | Paragraph | Table | Picture


@dataclass(frozen=True, slots=True)
class Page:
    """Title, and the blocks below it."""

    title: str
    blocks: Sequence[Block]

    @property
    def pictures(self) -> list[Path]:
        """Return the files of all pictures."""
        return [block.path for block in self.blocks if isinstance(block, Picture)]

    def markdown(self, *, pictures: bool = True) -> str:
        """Return markdown that is readable as it is. Pictures are named, as files beside it, or left out."""
        shown = [block for block in self.blocks if pictures or not isinstance(block, Picture)]
        return "\n\n".join([f"# {self.title}", *(_markdown(block) for block in shown)]) + "\n"

    def html(self) -> str:
        """Return one HTML file that needs nothing beside it."""
        body = "\n".join(_html(block) for block in self.blocks)
        title = html.escape(self.title)
        return (
            f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{title}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
            f"<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
        )


def _markdown(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {text}"
        case Paragraph(text):
            return text
        case Table(header, rows):
            return markdown_table(header, rows)
        case Picture(path, caption):
            return f"![{caption}]({path.name})"


def _html(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Table(header, rows):
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
            body = "\n".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
            return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
        case Picture(path, caption):
            kind, data = KINDS[path.suffix], base64.b64encode(path.read_bytes()).decode()
            alt = html.escape(caption)
            image = f'<img alt="{alt}" src="data:image/{kind};base64,{data}">'
            return f"<figure>{image}<figcaption>{alt}</figcaption></figure>"


def _cell(text: str) -> str:
    verdict = next((word for word in ("reproduced", "contradicted") if text.startswith(word)), "")
    return f'<td class="{verdict}">{html.escape(text)}</td>' if verdict else f"<td>{html.escape(text)}</td>"
