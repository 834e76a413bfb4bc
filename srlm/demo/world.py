"""The closed world of the demo: a table of facts, and a closed grammar of questions about it.

84 countries with four attributes each. A question can be written from the table (`ask`) and read back from
its text (`parse`), so that any question a model makes up in this grammar has one exact truth.
"""

import random
import re
from dataclasses import dataclass
from functools import cache

ATTRIBUTES = ("capital", "continent", "language", "currency")

# country, capital, continent, a main language, currency. Countries whose answer is disputed, or whose names
# are long, are left out on purpose: a fact here must be short and beyond argument.
_ROWS = """
France Paris Europe French euro
Germany Berlin Europe German euro
Spain Madrid Europe Spanish euro
Italy Rome Europe Italian euro
Portugal Lisbon Europe Portuguese euro
Austria Vienna Europe German euro
Greece Athens Europe Greek euro
Ireland Dublin Europe English euro
Finland Helsinki Europe Finnish euro
Sweden Stockholm Europe Swedish krona
Norway Oslo Europe Norwegian krone
Denmark Copenhagen Europe Danish krone
Iceland Reykjavik Europe Icelandic krona
Poland Warsaw Europe Polish zloty
Hungary Budapest Europe Hungarian forint
Romania Bucharest Europe Romanian leu
Croatia Zagreb Europe Croatian euro
Serbia Belgrade Europe Serbian dinar
Albania Tirana Europe Albanian lek
Estonia Tallinn Europe Estonian euro
Latvia Riga Europe Latvian euro
Lithuania Vilnius Europe Lithuanian euro
Czechia Prague Europe Czech koruna
Ukraine Kyiv Europe Ukrainian hryvnia
Japan Tokyo Asia Japanese yen
China Beijing Asia Mandarin yuan
India New_Delhi Asia Hindi rupee
Nepal Kathmandu Asia Nepali rupee
Pakistan Islamabad Asia Urdu rupee
Bangladesh Dhaka Asia Bengali taka
Thailand Bangkok Asia Thai baht
Vietnam Hanoi Asia Vietnamese dong
Laos Vientiane Asia Lao kip
Cambodia Phnom_Penh Asia Khmer riel
Mongolia Ulaanbaatar Asia Mongolian tugrik
Malaysia Kuala_Lumpur Asia Malay ringgit
Uzbekistan Tashkent Asia Uzbek som
Iran Tehran Asia Persian rial
Iraq Baghdad Asia Arabic dinar
Jordan Amman Asia Arabic dinar
Oman Muscat Asia Arabic rial
Qatar Doha Asia Arabic riyal
Lebanon Beirut Asia Arabic pound
Syria Damascus Asia Arabic pound
Egypt Cairo Africa Arabic pound
Morocco Rabat Africa Arabic dirham
Algeria Algiers Africa Arabic dinar
Tunisia Tunis Africa Arabic dinar
Libya Tripoli Africa Arabic dinar
Sudan Khartoum Africa Arabic pound
Kenya Nairobi Africa Swahili shilling
Tanzania Dodoma Africa Swahili shilling
Uganda Kampala Africa English shilling
Nigeria Abuja Africa English naira
Ghana Accra Africa English cedi
Ethiopia Addis_Ababa Africa Amharic birr
Somalia Mogadishu Africa Somali shilling
Senegal Dakar Africa French franc
Cameroon Yaounde Africa French franc
Madagascar Antananarivo Africa Malagasy ariary
Angola Luanda Africa Portuguese kwanza
Mozambique Maputo Africa Portuguese metical
Zambia Lusaka Africa English kwacha
Malawi Lilongwe Africa English kwacha
Botswana Gaborone Africa English pula
Rwanda Kigali Africa Kinyarwanda franc
Canada Ottawa North_America English dollar
Cuba Havana North_America Spanish peso
Jamaica Kingston North_America English dollar
Nicaragua Managua North_America Spanish cordoba
Honduras Tegucigalpa North_America Spanish lempira
Brazil Brasilia South_America Portuguese real
Argentina Buenos_Aires South_America Spanish peso
Chile Santiago South_America Spanish peso
Peru Lima South_America Spanish sol
Colombia Bogota South_America Spanish peso
Venezuela Caracas South_America Spanish bolivar
Ecuador Quito South_America Spanish dollar
Uruguay Montevideo South_America Spanish peso
Paraguay Asuncion South_America Spanish guarani
Australia Canberra Oceania English dollar
Fiji Suva Oceania English dollar
Samoa Apia Oceania Samoan tala
Tonga Nukualofa Oceania Tongan paanga
"""

# What the world does not know: attributes it has no column for, and countries that do not exist.
UNKNOWN_ATTRIBUTES = ("president", "anthem", "climate", "population", "flag", "history")
UNKNOWN_COUNTRIES = ("Atlantis", "Narnia", "Utopia", "Ruritania", "Freedonia", "Zubrowka", "Lilliput", "Genovia")


def _read_table() -> dict[str, dict[str, str]]:
    """The table as country -> attribute -> value; an underscore in a row stands for a space."""
    rows = (line.replace("_", "~").split() for line in _ROWS.strip().splitlines())
    clean = ([cell.replace("~", " ") for cell in row] for row in rows)
    return {country: dict(zip(ATTRIBUTES, values, strict=True)) for country, *values in clean}


TABLE = _read_table()
COUNTRIES = tuple(TABLE)
VALUES = {a: tuple(sorted({row[a] for row in TABLE.values()})) for a in ATTRIBUTES}


@dataclass(frozen=True)
class Question:
    """A question of the world.

    kind: one (one fact), two (two facts), same (do two countries share a value?), about (all four facts),
    list (name `count` countries that have `value`), unknown (the world has no such fact).
    asked: the (attribute, country) pairs it is about; for a list the one pair (attribute, "").
    """

    kind: str
    asked: tuple[tuple[str, str], ...]
    value: str = ""
    count: int = 0


# {a} is an attribute, {c} a country, {v} a value, {n} a number word; a 2 marks the second of its kind.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "one": (
        "What is the {a} of {c}?",
        "Name the {a} of {c}.",
        "Which {a} does {c} have?",
        "Please tell me the {a} of {c}.",
    ),
    "two": (
        "What are the {a} and the {a2} of {c}?",
        "Tell me the {a} and also the {a2} of {c}.",
        "What is the {a} of {c} and what is the {a2} of {c2}?",
        "Name the {a} of {c} and the {a2} of {c2}.",
    ),
    "same": (
        "Do {c} and {c2} have the same {a}?",
        "Is the {a} of {c} also the {a} of {c2}?",
        "Compare the {a} of {c} with that of {c2}: is it the same?",
    ),
    "list": (
        "Name {n} countries whose {a} is {v}.",
        "Which {n} countries have {v} as their {a}?",
        "Give me a list of {n} countries with {v} as {a}.",
    ),
    "about": (
        "Describe {c}.",
        "Tell me about {c}.",
        "What should I know about {c}?",
        "Write a short description of {c}.",
    ),
}
NUMBERS = {"two": 2, "three": 3}
# How often each kind is asked. Lists and descriptions are few because few distinct ones exist.
WEIGHTS = {"one": 22, "two": 38, "same": 22, "list": 4, "about": 6, "unknown": 8}
SHARED = ("continent", "language", "currency")  # attributes that two countries can have in common


def truth(attribute: str, country: str) -> str | None:
    """The value of a fact, or None when the world does not have it."""
    return TABLE.get(country, {}).get(attribute)


def with_article(attribute: str, value: str) -> str:
    """A value as a sentence says it: currencies take an article ("the euro"), the others none."""
    return f"the {value}" if attribute == "currency" else value


@cache
def holders(attribute: str, value: str) -> tuple[str, ...]:
    """The countries that have this value."""
    return tuple(c for c in COUNTRIES if TABLE[c][attribute] == value)


def ask(rng: random.Random, kind: str | None = None) -> str:
    """Write one question of the world; `kind` None draws the kind by WEIGHTS."""
    kind = kind or rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    template = rng.choice(TEMPLATES["one" if kind == "unknown" else kind])
    first, second = rng.sample(ATTRIBUTES, 2)
    country, other = rng.sample(COUNTRIES, 2)
    if kind == "unknown":
        first, country = _unknown_pair(rng)
    if kind in ("same", "list"):
        first = rng.choice(SHARED)
    if kind == "same" and rng.random() < 0.4:  # by chance alone nearly every answer would be "no"
        other = rng.choice([c for c in holders(first, TABLE[country][first]) if c != country] or [other])
    number, value = "", ""
    if kind == "list":
        number = rng.choice(list(NUMBERS))
        value = rng.choice([v for v in VALUES[first] if len(holders(first, v)) >= 4])
    return template.format(
        a=first, a2=second, c=country, c2=other, n=number, v=with_article(first, value) if value else ""
    )


def _unknown_pair(rng: random.Random) -> tuple[str, str]:
    """An (attribute, country) pair that the world has no fact for."""
    if rng.random() < 0.5:
        return rng.choice(UNKNOWN_ATTRIBUTES), rng.choice(COUNTRIES)
    return rng.choice(ATTRIBUTES), rng.choice(UNKNOWN_COUNTRIES)


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """One pattern per template, with a named group for each of its slots."""
    attributes = "|".join(ATTRIBUTES + UNKNOWN_ATTRIBUTES)
    countries = "|".join(COUNTRIES + UNKNOWN_COUNTRIES)
    values = "|".join(with_article(a, v) for a in SHARED for v in VALUES[a])
    slots = {"a": attributes, "a2": attributes, "c": countries, "c2": countries}
    slots |= {"n": "|".join(NUMBERS), "v": values}
    found = []
    for kind, templates in TEMPLATES.items():
        for template in templates:
            seen: set[str] = set()

            def slot(match: re.Match[str], seen: set[str] = seen) -> str:
                name = match[1]
                if name in seen:
                    return f"(?P={name})"
                seen.add(name)
                return f"(?P<{name}>{slots[name]})"

            text = re.sub(r"\\\{(\w+)\\\}", slot, re.escape(template))
            found.append((kind, re.compile(text)))
    return found


def parse(text: str) -> Question | None:
    """Read a question back from its text; None when it is not a question of this world."""
    for kind, pattern in _patterns():
        if match := pattern.fullmatch(text.strip()):
            return _question(kind, match.groupdict())
    return None


def _question(kind: str, slots: dict[str, str]) -> Question | None:
    """The question that a matched template stands for; None when its parts do not fit together."""
    if kind == "about":
        known = slots["c"] in TABLE
        return Question("about", tuple((a, slots["c"]) for a in ATTRIBUTES)) if known else None
    first, country = slots["a"], slots.get("c", "")
    second, other = slots.get("a2", first), slots.get("c2", country)
    if kind == "one":
        known = truth(first, country) is not None
        return Question("one" if known else "unknown", ((first, country),))
    if kind == "list":
        value = slots["v"].removeprefix("the ")
        enough = first in SHARED and len(holders(first, value)) >= NUMBERS[slots["n"]]
        return Question("list", ((first, ""),), value, NUMBERS[slots["n"]]) if enough else None
    asked = ((first, country), (second, other))
    if any(truth(*pair) is None for pair in asked) or asked[0] == asked[1]:
        return None
    return Question(kind, asked)
