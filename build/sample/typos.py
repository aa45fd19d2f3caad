"""Slips of the finger, as shoppers make them: a letter swapped, dropped, doubled or hit beside."""

from random import Random

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_BESIDE = {
    letter: row[max(0, place - 1) : place] + row[place + 1 : place + 2]
    for row in _ROWS
    for place, letter in enumerate(row)
}


def misspell(rng: Random, text: str) -> str:
    """The text with a slip in one or two of its words of five letters and more; shorter words stay readable."""
    words = text.split()
    long = [place for place, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    for place in rng.sample(long, min(len(long), rng.randint(1, 2))):
        words[place] = _slip(rng, words[place])
    return " ".join(words)


def _slip(rng: Random, word: str) -> str:
    at = rng.randrange(1, len(word) - 1)
    head, letter, tail = word[:at], word[at], word[at + 1 :]
    beside = _BESIDE.get(letter)
    slips = [head + tail, head + letter + letter + tail, head + tail[0] + letter + tail[1:]]
    if beside:
        slips.append(head + rng.choice(beside) + tail)
    return rng.choice([slip for slip in slips if slip != word])
