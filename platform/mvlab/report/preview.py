"""Picture of a batch: the images as the network sees them, with their targets."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from mvlab.data.feed.batch import Batch
from mvlab.tasks.base import Task

GAP = 6
CAPTION = 18
TITLE = 26
BACKGROUND, INK = "white", "black"
WIDEST = 2_000
"""Largest width in pixels. Images are shown smaller if a row of them would be wider."""


def draw_batch(batch: Batch, task: Task, classes: Sequence[str], *, title: str, most: int) -> Image.Image:
    """Draw the first `most` images of a batch in a grid, each above its targets in words."""
    count = min(most, len(batch))
    columns = max(1, math.ceil(math.sqrt(count * 1.6)))
    height, width = batch.pixels.shape[-2:]
    side = min(width, (WIDEST - GAP) // columns - GAP)
    tall = height * side // width
    cell_width, cell_height = side + GAP, tall + CAPTION + GAP
    size = (max(420, GAP + columns * cell_width), TITLE + GAP + math.ceil(count / columns) * cell_height)
    sheet = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, ImageFont.load_default(15))
    font = ImageFont.load_default(12)
    for index in range(count):
        row, column = divmod(index, columns)
        left, top = GAP + column * cell_width, TITLE + GAP + row * cell_height
        image = Image.fromarray(batch.pixels[index].transpose(1, 2, 0))
        image = image.resize((side, tall), Image.Resampling.LANCZOS)
        task.draw(image, batch.targets, index, classes)
        sheet.paste(image, (left, top))
        draw.text((left, top + tall + 2), _fitted(task.caption(batch.targets, index, classes), font, side), INK, font)
    return sheet


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Cut `text` to `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
