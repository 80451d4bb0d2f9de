"""The words the painter understands, in English and a little German, French and Spanish."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BLOOMING",
    "COLOURS",
    "HABITATS",
    "KINDS",
    "NEGATIONS",
    "NUMBERS",
    "OWN_COLOURS",
    "SURFACES",
    "Colour",
    "look_up",
]

Colour = tuple[int, int, int]
"""Red, green, blue, each 0 to 255."""

_COLOUR_WORDS: Final[dict[Colour, str]] = {
    (206, 52, 48): "red crimson scarlet rot rote roter rotes roten rouge rojo roja ruby",
    (238, 130, 50): "orange naranja tangerine amber copper rust",
    (248, 200, 62): "yellow gelb gelbe gelber gelbes jaune amarillo amarilla mustard lemon",
    (222, 170, 60): "gold dorado dorada doré or",
    (72, 146, 84): "green grün grüne grüner grünes vert verte verde emerald olive",
    (54, 158, 150): "teal turquoise türkis cyan turquesa mint jade",
    (52, 108, 196): "blue blau blaue blauer blaues bleu bleue azul sapphire cobalt",
    (44, 52, 110): "navy indigo",
    (126, 78, 170): "purple violet lila violett pourpre morado púrpura lavender mauve",
    (236, 130, 160): "pink rosa rose magenta coral fuchsia peach",
    (130, 86, 56): "brown braun braune marron marrón brun chestnut chocolate",
    (242, 238, 230): "white weiß weiße weißer blanc blanche blanco blanca ivory cream",
    (42, 42, 50): "black schwarz schwarze schwarzer noir noire negro negra ebony",
    (142, 146, 154): "grey gray grau graue gris silver silber",
}

_WORDS: Final[dict[str, dict[str, str]]] = {
    "time": {
        "dawn": "dawn sunrise daybreak morning aube amanecer morgen morgengrauen matin",
        "day": "day noon midday daylight afternoon sunny mittag midi mediodía tag jour día",
        "golden": "golden backlit honeyed",
        "dusk": "sunset dusk twilight evening sundown abend sonnenuntergang crépuscule soir "
        "atardecer ocaso",
        "night": "night midnight nighttime moonlit moonlight starry nacht nuit noche aurora "
        "nocturne stars",
    },
    "weather": {
        "rain": "rain rainy raining drizzle wet regen pluie lluvia puddle puddles",
        "snow": "snow snowy snowing snowfall blizzard frost ice icy schnee neige nieve frozen",
        "fog": "fog foggy mist misty haze hazy nebel brume brouillard niebla smoke",
        "storm": "storm stormy thunder thunderstorm lightning tempest sturm gewitter orage "
        "tormenta tempête hurricane",
        "clear": "cloudless",
        "cloudy": "cloud clouds cloudy overcast wolken nuages nubes",
    },
    "season": {
        "spring": "spring blossom blossoms cherry sakura frühling printemps primavera",
        "summer": "summer summery sommer été verano tropical",
        "autumn": "autumn fall autumnal herbst automne otoño october november maple",
        "winter": "winter wintry hiver invierno christmas january december snowman "
        "schneemann penguin",
    },
    "place": {
        "sea": "sea ocean beach coast coastal shore bay harbor harbour waves island meer strand "
        "mer plage mar playa cliff cliffs wave surf",
        "lake": "lake pond river fjord see lac lago reflection reflections lagoon fluss río canal",
        "mountains": "mountain mountains alps alpine peak peaks summit hills valley canyon volcano "
        "berg berge montagne montagnes montaña montañas himalaya",
        "forest": "forest woods woodland jungle grove wald forêt bosque selva taiga trail",
        "desert": "desert dune dunes sahara sand oasis wüste désert desierto savanna cactus camel",
        "city": "city skyline town metropolis downtown village stadt ville ciudad buildings "
        "skyscraper skyscrapers manhattan paris london rooftop rooftops berlin",
        "street": "street alley road avenue straße rue calle tokyo lane market crosswalk shibuya",
        "meadow": "meadow field fields garden grass prairie farm countryside wiese champ prado "
        "park jardin jardín garten pasture vineyard hill wheat",
        "space": "space galaxy nebula cosmos cosmic universe orbit planet planets weltraum espace "
        "espacio milky saturn",
        "moonscape": "lunar crater craters mars martian",
        "underwater": "underwater reef seabed aquarium submarine undersea coral",
        "room": "room interior table kitchen desk shelf studio wall indoors still bookshelf "
        "zimmer chambre mesa tisch café library classroom window wand mur pared",
    },
    "style": {
        "watercolor": "watercolor watercolour aquarelle aquarell acuarela gouache wash",
        "sketch": "sketch pencil charcoal drawing drawn ink bleistift croquis dibujo etching",
        "pixel": "pixel pixelart pixelated bit voxel",
        "neon": "neon cyberpunk synthwave vaporwave glowing",
        "mono": "monochrome noir grayscale greyscale",
        "vintage": "vintage retro sepia polaroid antique nostalgic daguerreotype",
        "oil": "oil impressionist impressionism impasto ölgemälde monet gogh",
    },
    "sky": {
        "sun": "sun sunlight sonne soleil sol",
        "moon": "moon mond lune luna",
        "rainbow": "rainbow regenbogen arcoíris",
        "aurora": "aurora borealis polarlicht",
    },
    "subject": {
        "fox": "fox fuchs renard zorro vixen",
        "cat": "cat kitten katze chat gato kitty",
        "dog": "dog puppy hund chien perro corgi husky labrador",
        "wolf": "wolf loup lobo",
        "bear": "bear bär ours oso panda",
        "lion": "lion löwe leopard lioness",
        "tiger": "tiger tigre",
        "zebra": "zebra",
        "giraffe": "giraffe jirafa",
        "camel": "camel kamel chameau camello dromedary",
        "dinosaur": "dinosaur dino dinosaurier dinosaure dinosaurio brontosaurus",
        "penguin": "penguin pinguin pingouin manchot pingüino",
        "turtle": "turtle tortoise schildkröte tortue tortuga",
        "rabbit": "rabbit bunny hare hase lapin conejo",
        "horse": "horse pony pferd cheval caballo unicorn donkey",
        "deer": "deer stag elk moose reindeer hirsch cerf ciervo",
        "cow": "cow bull kuh vache vaca goat sheep lamb",
        "elephant": "elephant elefant éléphant elefante mammoth",
        "bird": "bird birds seagull gull crow raven eagle swallow vogel oiseau pájaro crane "
        "sparrow",
        "owl": "owl eule hibou búho",
        "butterfly": "butterfly schmetterling papillon mariposa moth",
        "fish": "fish goldfish shark koi fisch poisson pez dolphin salmon",
        "whale": "whale wal baleine ballena",
        "person": "person man woman girl boy child teacher student people figure frau mann kind "
        "femme homme mujer hombre niña hiker dancer wizard knight monk traveller traveler farmer "
        "fisherman mother father friend friends scientist wanderer sailor captain pirate queen "
        "king prince princess doctor nurse soldier chef cook baker painter artist musician singer "
        "pianist violinist grandmother grandfather grandma grandpa children men women explorer "
        "gardener firefighter witch samurai matrose pirat königin könig marin reine roi marinero "
        "pirata reina rey",
        "astronaut": "astronaut cosmonaut spaceman astronautin astronauta spacesuit",
        "robot": "robot android roboter droid",
        "dragon": "dragon drache drachen",
        "tree": "tree oak willow baum arbre árbol baobab",
        "palm": "palm palme palmier palmera",
        "cactus": "cactus kaktus",
        "pine": "pine fir spruce tanne sapin pino",
        "house": "house cabin cottage hut barn home haus maison casa chalet farmhouse inn",
        "castle": "castle palace fortress schloss burg château castillo temple tower",
        "lighthouse": "lighthouse leuchtturm phare faro",
        "windmill": "windmill mill windmühle moulin molino",
        "boat": "boat sailboat ship yacht schiff boot bateau barco velero canoe sail",
        "rocket": "rocket spaceship spacecraft rakete fusée cohete shuttle",
        "balloon": "balloon balloons ballon globo montgolfière airship",
        "bicycle": "bicycle bike fahrrad vélo bicicleta",
        "car": "car taxi van auto voiture coche truck automobile beetle",
        "bus": "bus schoolbus autobus autobús",
        "train": "train locomotive zug tram tren railway",
        "sunflower": "sunflower sonnenblume tournesol girasol",
        "tulip": "tulip tulpe tulipe tulipán",
        "rose": "rose roses",
        "flower": "flower poppy daisy blume blumen fleur "
        "fleurs flor flores orchid bouquet lotus iris",
        "mushroom": "mushroom mushrooms pilz champignon seta toadstool",
        "cup": "cup mug coffee tea tasse taza teacup espresso teapot",
        "apple": "apple fruit apfel pomme manzana peach pomegranate",
        "pear": "pear birne poire pera",
        "lemon": "lemon zitrone citron limón",
        "banana": "banana banane plátano",
        "strawberry": "strawberry strawberries erdbeere fraise fresa",
        "pizza": "pizza",
        "bowl": "bowl ramen soup noodle stew cereal porridge rice schüssel suppe bol soupe sopa",
        "icecream": "icecream gelato eis helado sundae",
        "vase": "vase jug bottle pitcher pot",
        "book": "book books buch livre libro notebook novel",
        "umbrella": "umbrella parasol regenschirm parapluie paraguas",
        "tent": "tent camp camping zelt",
        "lamp": "lamp lantern candle laterne lampe lámpara",
        "bridge": "bridge brücke pont puente",
        "snowman": "snowman snowmen schneemann",
        "volcano": "volcano volcanoes vulkan volcan volcán",
        "earth": "earth globe erde terre",
        "reading": "",
    },
}

COLOURS: Final = {word: colour for colour, words in _COLOUR_WORDS.items() for word in words.split()}
KINDS: Final = tuple(_WORDS)

_INDEX: Final[dict[str, tuple[tuple[str, str], ...]]] = {}
for _kind, _values in _WORDS.items():
    for _value, _words in _values.items():
        for _word in _words.split():
            _INDEX[_word] = (*_INDEX.get(_word, ()), (_kind, _value))

OWN_COLOURS: Final[dict[str, Colour]] = {
    "poppy": (214, 58, 48),
    "daisy": (248, 246, 240),
    "iris": (110, 84, 170),
    "lotus": (240, 170, 196),
    "orchid": (206, 120, 190),
    "lavender": (150, 120, 200),
    "pomegranate": (176, 40, 60),
    "peach": (246, 170, 120),
    "raven": (46, 46, 56),
    "crow": (46, 46, 56),
    "swallow": (60, 74, 110),
    "eagle": (110, 78, 58),
    "sparrow": (160, 122, 88),
    "goldfish": (244, 140, 50),
    "shark": (120, 136, 152),
    "dolphin": (110, 142, 172),
    "salmon": (236, 130, 112),
    "moth": (190, 170, 140),
    "unicorn": (250, 244, 250),
    "donkey": (150, 142, 140),
    "sheep": (244, 240, 230),
    "lamb": (250, 246, 238),
    "goat": (226, 216, 200),
    "husky": (150, 158, 172),
    "corgi": (232, 160, 90),
    "labrador": (236, 206, 150),
    "elk": (140, 96, 66),
    "moose": (110, 80, 62),
    "reindeer": (150, 120, 98),
    "taxi": (250, 196, 50),
    "leopard": (230, 180, 90),
    "willow": (140, 176, 96),
    "oak": (92, 132, 70),
}
"""What something is by itself, where it is not like others of its kind."""

NEGATIONS: Final = frozenset({"no", "without", "ohne", "kein", "keine", "sans", "sin", "never"})

NUMBERS: Final = {
    **dict.fromkeys(("2", "two", "pair", "couple", "zwei", "deux", "dos"), 2),
    **dict.fromkeys(("3", "three", "trio", "drei", "trois", "tres"), 3),
}
"""How many there are of what follows."""

SURFACES: Final[dict[str, str]] = {
    "wall": "backdrop", "background": "backdrop", "backdrop": "backdrop", "wand": "backdrop",
    "mur": "backdrop", "pared": "backdrop", "hintergrund": "backdrop", "fond": "backdrop",
    "sky": "sky", "himmel": "sky", "ciel": "sky", "cielo": "sky", "skies": "sky",
}  # fmt: skip
"""Things a colour word can belong to without being a subject."""

BLOOMING: Final = frozenset({"flower", "sunflower", "tulip", "rose"})
"""Subjects that are never alone in a meadow."""

HABITATS: Final[dict[str, tuple[str, ...]]] = {
    "fox": ("meadow", "forest"), "cat": ("room", "meadow"), "dog": ("meadow", "sea"),
    "wolf": ("forest", "mountains"), "bear": ("forest", "mountains"), "lion": ("desert", "meadow"),
    "rabbit": ("meadow",), "horse": ("meadow", "desert"), "deer": ("forest", "meadow"),
    "cow": ("meadow", "mountains"), "elephant": ("desert", "meadow"), "bird": ("sea", "mountains"),
    "owl": ("forest",), "penguin": ("sea",), "dinosaur": ("meadow", "forest"),
    "turtle": ("sea", "meadow"), "camel": ("desert",), "giraffe": ("meadow", "desert"),
    "tiger": ("forest", "meadow"), "zebra": ("meadow", "desert"), "butterfly": ("meadow",),
    "fish": ("underwater",), "whale": ("underwater",),
    "person": ("meadow", "mountains", "sea"), "astronaut": ("moonscape",),
    "robot": ("street", "meadow"), "dragon": ("mountains",), "tree": ("meadow",),
    "pine": ("mountains",), "house": ("meadow", "mountains"), "castle": ("mountains", "meadow"),
    "lighthouse": ("sea",), "windmill": ("meadow",), "boat": ("sea", "lake"), "rocket": ("space",),
    "balloon": ("meadow", "mountains", "desert"), "bicycle": ("meadow", "street"),
    "bus": ("street", "meadow"),
    "car": ("desert", "street"), "train": ("mountains", "meadow"), "flower": ("meadow", "room"),
    "mushroom": ("forest",),
    "sunflower": ("meadow",), "tulip": ("meadow", "room"), "rose": ("meadow", "room"),
    "palm": ("sea", "desert"), "cactus": ("desert",), "snowman": ("meadow",),
    "volcano": ("mountains",), "earth": ("space",), "pear": ("room",), "lemon": ("room",),
    "banana": ("room",), "strawberry": ("room",), "pizza": ("room",), "icecream": ("sea",),
    "reading": ("room",), "cup": ("room",), "bowl": ("room",), "apple": ("room",),
    "vase": ("room",), "book": ("room",), "umbrella": ("street", "sea"),
    "tent": ("mountains", "forest"), "lamp": ("room", "street"), "bridge": ("lake",),
}  # fmt: skip
"""Where a subject is at home when the prompt does not say where it is."""


def look_up(word: str) -> tuple[tuple[str, str], ...]:
    """Return the (kind, value) pairs of a lower-case word, in the singular or a plain plural."""
    for ending, letter in (("", ""), ("s", ""), ("es", ""), ("ies", "y")):
        stem = word[: len(word) - len(ending)] + letter if word.endswith(ending) else ""
        if len(stem) > 1 and stem in _INDEX:
            return _INDEX[stem]
    return ()
