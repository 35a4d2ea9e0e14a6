"""Things: tableware, furniture, plants, tools and free shapes. Units: about [-1, 1], y down."""

from __future__ import annotations

import numpy as np

from shared.models.embedded.training.shapes import Drawable, Part, Strands, box, ellipse, lathe, limb, placed
from shared.models.embedded.training.textures import (
    LEAF,
    WOOD,
    Material,
    Random,
    any_colour,
    chance,
    cloth,
    grown,
    made,
    rgb,
    uniform,
)


def vessel(random: Random) -> list[Drawable]:
    """A bottle, vase, jar, lamp or glass standing upright."""
    stuff, second = made(random), made(random)
    wide, neck = uniform(random, 0.2, 0.5), uniform(random, 0.08, 0.3)
    shoulder, foot = uniform(random, -0.6, 0.1), uniform(random, 0.5, 1.0) * wide
    outline = [
        (-1, neck),
        (shoulder - 0.15, neck),
        (shoulder + 0.15, wide),
        (0.6, uniform(random, 0.7, 1.0) * wide),
        (1, foot),
    ]
    parts: list[Drawable] = []
    if chance(random, 0.3):
        parts.append(ellipse(wide * 0.95, 0.1, 0.28, 0.34, stuff.dark(0.9), hole=0.72))
    parts += [lathe(0, 0, 1.0, outline, stuff, roundness=0.95), ellipse(0, 0.99, foot, 0.16 * foot, stuff.dark(0.8))]
    if chance(random, 0.5):
        parts.append(box(0, 0.35, 0.25, 0.97 * wide, second, np.pi / 2, 0.9))
    if chance(random, 0.5):
        parts.append(box(0, -1.0, 0.12, neck * 1.1, second, np.pi / 2, 0.9))
    elif chance(random, 0.5):
        parts = flowers(random, 0.0, -0.95) + parts
    return parts


def cup(random: Random) -> list[Drawable]:
    """A cup of something on a saucer, seen from above at any slant, with a handle and perhaps a spoon."""
    stuff = made(random) if chance(random, 0.5) else Material((0.92, 0.91, 0.89), (0.85, 0.84, 0.82), gloss=0.5)
    drink = Material(any_colour(random), any_colour(random), "patches", gloss=0.3)
    slant, wide = uniform(random, 0.25, 1.0), uniform(random, 0.4, 0.6)
    deep = (1.05 - slant) * uniform(random, 0.6, 1.1)
    parts: list[Drawable] = []
    if chance(random, 0.75):
        plate = stuff if chance(random, 0.7) else made(random)
        size = uniform(random, 1.5, 2.1) * wide
        low = deep * 0.9
        parts += [
            ellipse(0, low + 0.05, size, size * slant, plate.dark(0.85)),
            ellipse(0, low, size, size * slant, plate, roundness=0.35),
            ellipse(0, low, 0.65 * size, 0.65 * size * slant, plate.dark(0.88), roundness=0.3),
        ]
        if chance(random, 0.5):
            parts += placed(spoon(random), 0.75 * size, low, 0.55, uniform(random, 0, 6.3))
    turn = uniform(random, -0.6, 0.9) + (np.pi if chance(random, 0.5) else 0.0)
    handle = (np.cos(turn) * wide * 1.12, 0.35 * deep + np.sin(turn) * wide * slant)
    parts.append(ellipse(*handle, 0.28, max(0.06, 0.24 * (1.1 - slant)), stuff.dark(0.9), turn, hole=0.62))
    if deep > 0.05:
        outline = [(-1, wide), (0.2, 0.9 * wide), (1, 0.62 * wide)]
        parts += [
            ellipse(0, deep, 0.62 * wide, 0.62 * wide * slant, stuff),
            lathe(0, deep / 2, deep / 2, outline, stuff),
        ]
    parts += [
        ellipse(0, 0, wide, wide * slant, stuff.dark(1.1), roundness=0.2),
        ellipse(0, 0.01, 0.92 * wide, 0.92 * wide * slant, stuff.dark(0.7), roundness=0.3),
        ellipse(0, 0.04, 0.87 * wide, 0.85 * wide * slant, drink, roundness=0.1),
        ellipse(0.1 * wide, 0.02, 0.5 * wide, 0.45 * wide * slant, drink.dark(1.35), 0.3, roundness=0.1),
    ]
    return parts


def spoon(random: Random) -> list[Drawable]:
    """A spoon, fork-like stick or knife."""
    metal = Material((0.62, 0.62, 0.62), (0.85, 0.85, 0.85), "streaks", gloss=0.8)
    head = ellipse(-0.75, 0, 0.25, uniform(random, 0.08, 0.17), metal)
    return [limb((-0.6, 0), (1.0, 0), 0.04, 0.06, metal), head]


def dish(random: Random) -> list[Drawable]:
    """A plate, board or bowl with fruit, bread or cake on it."""
    slant, stuff = uniform(random, 0.35, 1.0), made(random) if chance(random, 0.6) else grown(random, WOOD)
    parts: list[Drawable] = [ellipse(0, 0.05, 1, slant, stuff.dark(0.8)), ellipse(0, 0, 1, slant, stuff, roundness=0.4)]
    for _ in range(int(random.integers(2, 9))):
        turn, far = uniform(random, 0, 6.3), uniform(random, 0, 0.6)
        size = uniform(random, 0.15, 0.38)
        food = Material(
            any_colour(random), any_colour(random), "patches", 0.2, 0, uniform(random, 0, 0.3), uniform(random, 0, 0.6)
        )
        x, y = far * np.cos(turn), far * slant * np.sin(turn) - 0.4 * size
        parts.append(ellipse(x, y, size, size * uniform(random, 0.5, 1.0), food, uniform(random, 0, 3), roundness=0.95))
    return parts


def chair(random: Random) -> list[Drawable]:
    """A chair, stool or small table: thin legs, rungs and slats with air between them."""
    wood = grown(random, WOOD, "streaks") if chance(random, 0.6) else made(random)
    thin, seat, wide = uniform(random, 0.03, 0.06), uniform(random, -0.1, 0.25), uniform(random, 0.4, 0.6)
    shift = uniform(random, 0.08, 0.22)
    parts: list[Drawable] = []
    for x in (-wide + shift, wide + shift):
        parts.append(limb((x, seat), (x, 0.85), thin, thin, wood.dark(0.6)))
    if chance(random, 0.75):
        top = uniform(random, -1.0, -0.6)
        for x in (-wide + 0.5 * shift, wide + 0.5 * shift):
            parts.append(limb((x, seat), (x, top), thin, thin, wood))
        for y in np.linspace(top, seat - 0.15, int(random.integers(2, 5))):
            parts.append(box(0.5 * shift, float(y), wide, 1.3 * thin, wood.dark(0.9)))
    cover = cloth(random) if chance(random, 0.4) else wood
    parts.append(lathe(shift / 2, seat, 0.09, [(-1, wide + 0.04), (1, wide + 0.1)], cover, roundness=0.4))
    for x in (-wide, wide):
        parts.append(limb((x, seat), (x * 1.08, 1.0), 1.2 * thin, thin, wood))
    if chance(random, 0.5):
        parts.append(box(0, 0.7, wide, 0.6 * thin, wood.dark(0.8)))
    return parts


def bag(random: Random) -> list[Drawable]:
    """A bag, suitcase, book, phone, camera or parcel."""
    stuff, second = (cloth(random), made(random)) if chance(random, 0.5) else (made(random), cloth(random))
    wide, tall = uniform(random, 0.4, 0.85), uniform(random, 0.35, 0.8)
    parts: list[Drawable] = []
    if chance(random, 0.6):
        parts.append(ellipse(0, -tall, 0.5 * wide, uniform(random, 0.15, 0.5), second.dark(0.8), hole=0.82))
    parts.append(ellipse(0, 0, wide, tall, stuff, power=uniform(random, 3.0, 9.0), roundness=uniform(random, 0.1, 0.5)))
    if chance(random, 0.6):
        parts.append(box(0, uniform(random, -0.3, 0.3) * tall, wide * 0.9, 0.12 * tall, second))
    if chance(random, 0.5):
        parts.append(ellipse(0, 0.1, 0.4 * wide, 0.4 * min(wide, tall), second, power=2 + 4 * uniform(random, 0, 1)))
        parts.append(ellipse(0, 0.1, 0.25 * wide, 0.25 * min(wide, tall), second.dark(0.5)))
    return placed(parts, 0, 0, 1.0, uniform(random, -0.2, 0.2))


def plant(random: Random) -> list[Drawable]:
    """A plant in a pot: stems and leaves."""
    pot, green = made(random), grown(random, LEAF)
    parts: list[Drawable] = []
    for _ in range(int(random.integers(6, 22))):
        turn = random.normal(0, 0.6)
        long = uniform(random, 0.4, 1.0)
        tip = (long * np.sin(turn), 0.35 - long * np.cos(turn) * 1.2)
        bend = uniform(random, -0.1, 0.1)
        parts.append(limb((0, 0.45), tip, 0.02, 0.012, green.dark(0.7), bend))
        parts.append(
            leaf(random, *tip, uniform(random, 0.1, 0.3), turn - np.pi / 2 + uniform(random, -0.8, 0.8), green)
        )
    tall = uniform(random, 0.2, 0.32)
    parts.append(lathe(0, 0.4 + tall, tall, [(-1, uniform(random, 0.25, 0.4)), (1, uniform(random, 0.15, 0.3))], pot))
    return parts


def leaf(random: Random, x: float, y: float, size: float, angle: float, green: Material) -> Part:
    """One leaf or petal."""
    wide = uniform(random, 0.25, 0.5) * size
    shade = green.dark(uniform(random, 0.7, 1.25))
    return lathe(x, y, size, [(-1, 0.01), (-0.2, wide), (0.3, 0.8 * wide), (1, 0.0)], shade, angle, roundness=0.3)


def flowers(random: Random, x: float = 0.0, y: float = 0.9) -> list[Drawable]:
    """A bunch of flowers whose stems meet at (x, y)."""
    parts: list[Drawable] = []
    green, petal = grown(random, LEAF), made(random)
    for _ in range(int(random.integers(1, 7))):
        turn, long = random.normal(0, 0.4), uniform(random, 0.5, 1.3)
        top = (x + long * np.sin(turn), y - long * np.cos(turn))
        parts.append(limb((x, y), top, 0.022, 0.018, green, uniform(random, -0.06, 0.06)))
        parts.append(leaf(random, (x + top[0]) / 2, (y + top[1]) / 2, 0.2, turn, green))
        size, count = uniform(random, 0.12, 0.3), int(random.integers(5, 11))
        for step in np.linspace(0, 6.283, count + 1)[:-1]:
            parts.append(
                leaf(
                    random, top[0] + size * np.cos(step), top[1] + size * np.sin(step), size, float(step) + 3.14, petal
                )
            )
        parts.append(
            ellipse(
                top[0], top[1], 0.35 * size, 0.35 * size, Material((0.75, 0.55, 0.12), (0.4, 0.25, 0.08), "dots", 0.1)
            )
        )
    return parts


def tree(random: Random) -> list[Drawable]:
    """A tree or bush: trunk, boughs and many leaves with gaps."""
    bark, green = grown(random, WOOD, "streaks", 0.2), grown(random, LEAF, "patches", 0.3)
    parts: list[Drawable] = [
        limb((0, 1.0), (uniform(random, -0.1, 0.1), -0.1), uniform(random, 0.06, 0.14), 0.05, bark)
    ]
    for _ in range(5):
        turn = uniform(random, -1.1, 1.1)
        parts.append(limb((0, 0.1), (0.6 * np.sin(turn), -0.1 - 0.55 * np.cos(turn)), 0.05, 0.02, bark))
    for _ in range(int(random.integers(6, 12))):
        turn, far = uniform(random, 0, 6.3), uniform(random, 0.1, 0.55)
        size = uniform(random, 0.15, 0.3)
        parts.append(
            ellipse(
                far * np.cos(turn), -0.4 + 0.8 * far * np.sin(turn), size, size, green.dark(uniform(random, 0.7, 1.2))
            )
        )
    count = 2500
    turns, fars = random.uniform(0, 6.3, count), random.uniform(0.3, 0.85, count)
    roots = np.stack([fars * np.cos(turns), -0.4 + 0.8 * fars * np.sin(turns)], 1)
    colours = np.asarray(green.colour) * random.uniform(0.5, 1.5, (count, 1))
    parts.append(
        Strands(roots, random.normal(0, 0.05, (count, 2)), random.normal(0, 0.3, count), np.clip(colours, 0, 1), 0.025)
    )
    return parts


def tool(random: Random) -> list[Drawable]:
    """A guitar, racket, hammer, lamp or umbrella: a head on a rod."""
    first, second = (grown(random, WOOD), made(random)) if chance(random, 0.5) else (made(random), grown(random, WOOD))
    head = uniform(random, 0.2, 0.5)
    kind = int(random.integers(4))
    parts: list[Drawable] = [limb((0, -0.95), (0, 0.95 - head), 0.05, uniform(random, 0.03, 0.07), second)]
    if kind == 0:
        waist = uniform(random, 0.55, 0.8) * head
        body = lathe(
            0,
            0.95 - 1.3 * head,
            1.4 * head,
            [(-1, 0.05), (-0.5, 0.8 * head), (-0.1, waist), (0.5, 1.1 * head), (1, 0.2)],
            first,
        )
        return [body, ellipse(0, 0.85 - head, 0.3 * head, 0.3 * head, first.dark(0.3)), *parts]
    if kind == 1:
        return [*parts, ellipse(0, -0.6, 0.8 * head, head, first, np.pi / 2, hole=0.85)]
    if kind == 2:
        return [*parts, box(0, -0.8, head, 0.13, first, roundness=0.5)]
    return [
        *parts,
        lathe(0, -0.7, 0.3, [(-1, 0.12), (1, 1.4 * head)], cloth(random)),
        ellipse(0, 0.85, 0.35, 0.1, first),
    ]


def creature(random: Random) -> list[Drawable]:
    """A free jointed shape: a tree of rods and ellipses in a few stuffs, at times with holes."""
    stuffs = [made(random), cloth(random), grown(random, WOOD)]
    parts: list[Drawable] = [
        ellipse(0, 0, uniform(random, 0.25, 0.5), uniform(random, 0.2, 0.5), stuffs[0], uniform(random, 0, 3))
    ]
    joints: list[tuple[float, float, float]] = [(0.0, 0.0, 0.3)]
    for _ in range(int(random.integers(3, 12))):
        x, y, thick = joints[int(random.integers(len(joints)))]
        turn, long = uniform(random, 0, 6.3), uniform(random, 0.25, 0.7)
        end = (
            float(np.clip(x + long * np.cos(turn), -0.95, 0.95)),
            float(np.clip(y + long * np.sin(turn), -0.95, 0.95)),
        )
        radius = thick * uniform(random, 0.4, 0.9)
        stuff = stuffs[int(random.integers(3))]
        parts.insert(
            int(random.integers(len(parts) + 1)),
            limb((x, y), end, radius, 0.7 * radius, stuff, uniform(random, -0.15, 0.15)),
        )
        if chance(random, 0.35):
            size = uniform(random, 0.8, 2.2) * radius
            hole = uniform(random, 0.5, 0.85) if chance(random, 0.3) else 0.0
            power = uniform(random, 1.5, 6)
            parts.append(
                ellipse(
                    *end, size, size * uniform(random, 0.5, 1.1), stuffs[int(random.integers(3))], turn, power, hole
                )
            )
        joints.append((*end, radius))
    return parts


def blob(random: Random) -> list[Drawable]:
    """One to three plain solids: ball, fruit, stone, shoe, box; or a rag of many soft lobes."""
    stuff = made(random) if chance(random, 0.5) else Material(
        any_colour(random), rgb(random.random(3)), "patches", 0.3, 0.0, uniform(random, 0, 0.4)
    )  # fmt: skip
    parts: list[Drawable] = []
    for _ in range(int(random.choice([1, 2, 3, 7]))):
        spot = random.normal(0, 0.3, 2)
        size = uniform(random, 0.35, 0.75)
        power = uniform(random, 1.7, 5)
        shade = stuff.dark(uniform(random, 0.8, 1.2))
        parts.append(
            ellipse(spot[0], spot[1], size, size * uniform(random, 0.4, 1), shade, uniform(random, 0, 3), power)
        )
    return parts
