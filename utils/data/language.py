"""Is a prompt in the language wanted (English by default)? By the script of its letters and by function words.

The paper measured > 96 % English with langid.py (A.4); this works offline and in microseconds. It needs evidence
against the language to say no, so very short prompts, code, tables and lists of names stay. Limits: languages in Latin
script that are not in `FUNCTION_WORDS` are only noticed in longer prompts with accented letters and hardly any
English function word; a short English instruction about a longer foreign text counts as foreign.
"""

from __future__ import annotations

import re
import unicodedata

MIN_WORDS = 3
MAX_FOREIGN_SCRIPT = 0.3

# Words that are common in one language and rare in the others: not "die", "man", "me" or "an", and
# no single letters but the English ones, as those are names of things in maths and lists.
FUNCTION_WORDS: dict[str, frozenset[str]] = {
    "english": frozenset(
        "the a an and or but of to in on at by for from with about as is are was were be been am do does did has have "
        "had can could will would should may might must not this that these those there it its i you he she we they "
        "my your his her our their me him us them what who why when where which how if than then so all some any no "
        "one two give tell write make list name please explain describe".split()
    ),
    "spanish": frozenset(
        "el los las una unos unas del que qué por para con como cómo pero está están es son soy muy más sobre cuál "
        "cuáles cuándo dónde quién y su sus mi tu este esta eso lo le se ser hay dime escribe".split()
    ),
    "french": frozenset(
        "le les des du une est et que qui quoi quel quelle quels pour dans avec sur sont pas je il elle nous vous ils "
        "ce cette ces mon ma mes ton son sa ses au aux où comment pourquoi moi écris plus".split()
    ),
    "german": frozenset(
        "der die das den dem des ein eine einen einem einer und oder aber ist sind nicht ich du er sie wir ihr mit von "
        "zu für auf im wie wer warum wann welche welcher welches kann mir mich bitte auch über nach schreibe".split()
    ),
    "italian": frozenset(
        "il lo gli una del della dei delle di che sono non per con come perché cosa quale quali chi dove quando "
        "mi ti si nel nella questo questa un le dimmi scrivi più".split()
    ),
    "portuguese": frozenset(
        "os uma um do da dos das que são não para com como mas por em no na qual quais quem onde quando você eu "
        "ele ela seu sua este esta isso ao mais escreva".split()
    ),
    "dutch": frozenset(
        "de het een en van ik je jij hij zij wij niet is zijn dat die dit op te voor met wat wie waarom hoe welke "
        "naar aan ook maar om er schrijf".split()
    ),
    "swedish": frozenset(
        "och är det den ett som inte jag du han hon vi med för på av till vad hur varför vilken om från skriv".split()
    ),
    "polish": frozenset("na do się nie to jest jak co czy dla że od po przez jaki jaka które ale są napisz".split()),
    "turkish": frozenset("ve bir bu için ile ne nasıl neden mi mı çok var değil olan daha kim hangi nedir bana".split()),
    "indonesian": frozenset("yang dan di itu dengan untuk tidak dari dalam akan apa bagaimana adalah ini saya ke pada".split()),
}
_WORD = re.compile(r"[^\W\d_]+")


def foreign_letters(text: str) -> float:
    """Share of the letters that are not of the Latin script, in [0, 1]; 0 for text without letters."""
    if text.isascii():
        return 0.0
    letters = [c for c in text if c.isalpha()]
    # Mathematical letters and the like are Latin after compatibility decomposition.
    foreign = sum(
        1
        for c in letters
        if ord(c) > 127 and "LATIN" not in unicodedata.name(c, "") and not unicodedata.normalize("NFKD", c).isascii()
    )
    return foreign / len(letters) if letters else 0.0


def foreign_language(text: str, wanted: str = "english") -> str:
    """Why `text` is mostly not in the language `wanted` (a name of `FUNCTION_WORDS`), as "german" or "script".

    "" if it is, or if it is too short to tell.
    """
    if foreign_letters(text) > MAX_FOREIGN_SCRIPT:
        return "script"
    words = _WORD.findall(text.lower())
    if len(words) < MIN_WORDS:
        return ""
    found = {language: len(known.intersection(words)) for language, known in FUNCTION_WORDS.items()}
    own = found.pop(wanted)
    best = max(found, key=lambda language: found[language])
    if found[best] >= 2 and found[best] > own:
        return best
    accented = sum(not word.isascii() for word in words)
    if len(words) >= 8 and own / len(words) < 0.15 and accented / len(words) > 0.15:
        return "unknown"
    return ""
