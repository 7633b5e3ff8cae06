#!/usr/bin/env python3
"""Makes pictures of screens that tmux captured with their colours.

    COUNTERSIGN_PICTURES=/tmp/screens cargo test -p countersign-client --test chat
    pip install pillow
    client/tests/chat/pictures.py /tmp/screens docs/pictures

Each NAME:FILE:THEME of PICTURES becomes docs/pictures/chat-FILE.png. The font is DejaVu Sans Mono (Debian: fonts-dejavu-core).
"""

import re
import sys
import unicodedata
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

PICTURES = [
    ("talk-3-bob-sent-a-file", "conversation", "dark"),
    ("talk-5-bob-is-warned", "log-warning", "light"),
    ("refused-server", "refused", "dark"),
    ("refused-server-what-to-do", "what-to-do", "dark"),
    ("change-before-signing", "change", "light"),
    ("plain", "plain", "dark"),
]

FONTS = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono{}.ttf"
SIZE = 20
MARGIN = 16

# Foreground and background of the terminal, then its eight colours.
THEMES = {
    "dark": ("#d4d7dd", "#16181d", ["#16181d", "#e5534b", "#57ab5a", "#d0a215", "#539bf5", "#c678dd", "#39c5cf", "#f0f2f5"]),
    "light": ("#24292f", "#ffffff", ["#24292f", "#cf222e", "#1a7f37", "#e3b341", "#0969da", "#8250df", "#1b7c83", "#ffffff"]),
}


def cells(text):
    """Yields rows of (letter, style); a style has the keys fg, bg, bold, dim and reverse."""
    style = {}
    for line in text.rstrip("\n").split("\n"):
        row = []
        for escape, letter in re.findall(r"\x1b\[([0-9;]*)m|(.)", line):
            if letter:
                row.append((letter, dict(style)))
                continue
            codes = [int(code or 0) for code in escape.split(";")]
            while codes:
                code = codes.pop(0)
                if code == 0:
                    style = {}
                elif code in (1, 2, 7):
                    style[{1: "bold", 2: "dim", 7: "reverse"}[code]] = True
                elif 30 <= code <= 37 or 90 <= code <= 97:
                    style["fg"] = code % 10
                elif 40 <= code <= 47 or 100 <= code <= 107:
                    style["bg"] = code % 10
                elif code in (38, 48) and codes[:1] == [5]:
                    style["fg" if code == 38 else "bg"] = codes[1] % 8
                    codes = codes[2:]
                elif code in (39, 49):
                    style.pop("fg" if code == 39 else "bg", None)
        yield row


def mixed(one, other, share):
    """Mixes two colours."""
    parts = [[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in (one, other)]
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in zip(*parts))


def draw(text, theme):
    """Draws a screen."""
    foreground, background, palette = THEMES[theme]
    fonts = {bold: ImageFont.truetype(FONTS.format("-Bold" if bold else ""), SIZE) for bold in (False, True)}
    width = round(fonts[False].getlength("M"))
    height = SIZE + 5
    rows = list(cells(text))
    columns = max(80, max(len(row) for row in rows))
    picture = Image.new("RGB", (columns * width + 2 * MARGIN, len(rows) * height + 2 * MARGIN), background)
    canvas = ImageDraw.Draw(picture)
    for y, row in enumerate(rows):
        x = 0
        for letter, style in row:
            fg = palette[style["fg"]] if "fg" in style else foreground
            bg = palette[style["bg"]] if "bg" in style else background
            if style.get("reverse"):
                fg, bg = bg, fg
            if style.get("dim"):
                fg = mixed(fg, bg, 0.55)
            span = 2 if unicodedata.east_asian_width(letter) in "WF" else 1
            left, top = MARGIN + x * width, MARGIN + y * height
            if bg != background:
                canvas.rectangle([left, top, left + span * width - 1, top + height - 1], fill=bg)
            if not frame(canvas, letter, left, top, width, height, fg) and letter != " ":
                canvas.text((left, top + 1), letter, font=fonts[bool(style.get("bold"))], fill=fg)
            x += span
    return picture


def frame(canvas, letter, left, top, width, height, colour):
    """Draws a letter that frames are made of, so that they have no gaps. Returns whether it is one."""
    # Towards the left, right, top and bottom: how thick.
    arms = {
        "─": (1, 1, 0, 0), "│": (0, 0, 1, 1), "┌": (0, 1, 0, 1), "┐": (1, 0, 0, 1), "└": (0, 1, 1, 0), "┘": (1, 0, 1, 0),
        "━": (3, 3, 0, 0), "┃": (0, 0, 3, 3), "┏": (0, 3, 0, 3), "┓": (3, 0, 0, 3), "┗": (0, 3, 3, 0), "┛": (3, 0, 3, 0),
    }.get(letter)
    if arms is None:
        return False
    x, y = left + width // 2, top + height // 2
    for thick, (x0, y0, x1, y1) in zip(arms, [(left, y, x, y), (x, y, left + width, y), (x, top, x, y), (x, y, x, top + height)]):
        if thick:
            half = thick // 2
            canvas.rectangle([x0 - (half if x0 == x1 else 0), y0 - (half if y0 == y1 else 0),
                              x1 + (half if x0 == x1 else 0), y1 + (half if y0 == y1 else 0)], fill=colour)
    return True


def main():
    captured, pictures = map(Path, sys.argv[1:3])
    pictures.mkdir(parents=True, exist_ok=True)
    for name, file, theme in PICTURES:
        text = (captured / f"{name}.ansi").read_text()
        picture = draw(text, theme).quantize(64)
        picture.save(pictures / f"chat-{file}.png", optimize=True)


if __name__ == "__main__":
    main()
