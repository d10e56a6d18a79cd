"""A batch as a picture: what the network is shown, with labels."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from mvlab.data.feed.batch import Batch

GAP = 6
CAPTION = 18
TITLE = 26
BACKGROUND, INK = "white", "black"
WIDEST = 2_000
"""Pixels; images are shown smaller where a row of them would be wider."""


def draw_batch(batch: Batch, classes: Sequence[str], *, title: str, most: int) -> Image.Image:
    """The first `most` images of a batch in a grid, each over the name of its class."""
    count = min(most, len(batch.labels))
    columns = max(1, math.ceil(math.sqrt(count * 1.6)))
    side = min(batch.pixels.shape[-1], (WIDEST - GAP) // columns - GAP)
    cell_width, cell_height = side + GAP, side + CAPTION + GAP
    size = (max(420, GAP + columns * cell_width), TITLE + GAP + math.ceil(count / columns) * cell_height)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, ImageFont.load_default(15))
    font = ImageFont.load_default(12)
    for index in range(count):
        row, column = divmod(index, columns)
        left, top = GAP + column * cell_width, TITLE + GAP + row * cell_height
        image = Image.fromarray(batch.pixels[index].transpose(1, 2, 0))
        sheet.paste(image.resize((side, side), Image.Resampling.LANCZOS), (left, top))
        draw.text((left, top + side + 2), _fitted(classes[int(batch.labels[index])], font, side), INK, font)
    return sheet


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """`text`, cut short to `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
