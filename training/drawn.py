"""Figures and pages that programs draw, over grounds and photographs: graphics for training beside screenshots."""

from __future__ import annotations

import random
from collections.abc import Callable
from io import BytesIO

import numpy as np
from matplotlib import colormaps, font_manager, style
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

WORDS = "rate distortion of the photograph at noon is 12.5 % below, as Table 3 says; see also Fig. (a) and x = y + 1"
STYLES = ("default", "ggplot", "dark_background", "bmh", "grayscale", "fivethirtyeight")
SIDES = (384, 896)  # of pages, in pixels
SYMBOLS = ("Siz", "cmex", "cmsy", "cmmi", "NonUni", "Display", "LastResort")  # in names of fonts that lack letters


def fonts() -> list[str]:
    """Font files with letters: those of the system, and those that matplotlib brings."""
    return [path for path in sorted(font_manager.findSystemFonts()) + _own() if not any(s in path for s in SYMBOLS)]


def _own() -> list[str]:
    return sorted(entry.fname for entry in font_manager.fontManager.ttflist)


def figure(photograph: Image.Image, rng: random.Random) -> Image.Image:
    """A plot of a random kind, style and resolution, 300 to 900 pixels wide."""
    numbers = np.random.default_rng(rng.getrandbits(32))
    colours = rng.choice(sorted(colormaps))
    with style.context(rng.choice(STYLES)):
        drawn = Figure(figsize=(rng.uniform(4, 7), rng.uniform(3, 5)), dpi=rng.choice((72, 100, 130)))
        axes = drawn.add_subplot()

        def lines() -> None:
            for k in range(rng.randrange(1, 6)):
                axes.plot(numbers.normal(size=40).cumsum(), label=f"run {k}", linewidth=rng.uniform(0.7, 3))
            axes.legend()

        def shown() -> None:
            picture = photograph if rng.random() < 0.6 else photograph.convert("L")
            drawn.colorbar(axes.imshow(np.asarray(picture), cmap=colours))

        def areas() -> None:
            x, y = np.meshgrid(np.linspace(-3, 3, 90), np.linspace(-3, 3, 90))
            height = np.sin(x * rng.uniform(0.5, 3)) + np.cos(y * x * rng.uniform(0.2, 1))
            draw = rng.choice((axes.contourf, axes.pcolormesh))
            drawn.colorbar(draw(x, y, height, cmap=colours))

        def points() -> None:
            x, y = numbers.normal(size=(2, rng.randrange(50, 900)))
            axes.scatter(x, y, c=x * y, s=rng.uniform(3, 80), alpha=rng.uniform(0.2, 1), cmap=colours)

        def bars() -> None:
            axes.hist(numbers.gamma(2, size=(300, 3)), bins=rng.randrange(5, 40))

        rng.choice((lines, shown, shown, areas, points, bars))()
        axes.set(title=WORDS[:30], xlabel="bits per pixel", ylabel="PSNR / dB")
        if rng.random() < 0.5:
            axes.grid(alpha=0.4)
        drawn.savefig(file := BytesIO(), format="png")
    return Image.open(file).convert("RGB")


def page(photograph: Image.Image, rng: random.Random, files: list[str]) -> Image.Image:
    """Text in some fonts over a plain ground, a gradient or a photograph, with a photograph or two in it."""
    width, height = rng.randint(*SIDES), rng.randint(*SIDES)

    def colour() -> tuple[int, int, int]:
        return rng.randrange(256), rng.randrange(256), rng.randrange(256)

    def gradient() -> Image.Image:
        across = Image.linear_gradient("L").rotate(rng.choice((0, 90))).resize((width, height))
        return Image.composite(Image.new("RGB", across.size, colour()), Image.new("RGB", across.size, colour()), across)

    grounds: list[Callable[[], Image.Image]] = [
        lambda: Image.new("RGB", (width, height), rng.choice(("white", "white", "black", colour()))),
        gradient,
        lambda: photograph.resize((width, height)),
    ]
    im = rng.choices(grounds, (3, 1, 1))[0]()
    for _ in range(rng.randrange(1, 3)):
        share = rng.uniform(0.25, 0.6)
        inset = photograph.resize((round(share * width), round(share * height)), Image.Resampling.LANCZOS)
        im.paste(inset, (rng.randrange(width - inset.width), rng.randrange(height - inset.height)))
    draw, top = ImageDraw.Draw(im), rng.randrange(4, 40)
    ink = rng.choice(("black", "white", colour()))
    while top < height:
        font = ImageFont.truetype(rng.choice(files), size := rng.choice((10, 12, 14, 18, 24, 40)))
        for _ in range(rng.randrange(1, 8)):
            words = WORDS.split()
            rng.shuffle(words)
            draw.text((rng.randrange(4, 30), top), " ".join(words), fill=ink, font=font)
            top += round(1.3 * size)
        top += size
    return im
