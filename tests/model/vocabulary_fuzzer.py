"""Mutates vocabularies and uses each one that is accepted.

Usage: python -m tests.model.vocabulary_fuzzer FILE CASES SEED. A crash of the library ends the process, so a
test runs it in a child. Prints the number of accepted and refused files.
"""

import random
import sys
import tempfile
from pathlib import Path

from model.text_tokenizer import TextTokenizer, VocabularyError

TEXTS = (
    "красный круг",
    "большой жёлтый мяч под дождём",
    "",
    "aaa \0 😀 ▁▁",
    "кккккк" * 50,
    "\U0010ffff\ufeff",
)
ODD = (
    0,
    1,
    2,
    3,
    4,
    5,
    31,
    32,
    33,
    167,
    168,
    169,
    9601,
    55_296,
    57_343,
    1_114_111,
    1_114_112,
    2**31 - 1,
    2**31,
    2**32,
    -1,
)


def mutate(lines: list[str], random_: random.Random) -> str:
    """Change one to three things: numbers, whole lines, or bytes."""
    lines = list(lines)
    for _ in range(random_.randint(1, 3)):
        at = random_.randrange(len(lines))
        numbers = lines[at].split()
        match random_.randrange(12):
            case 0 | 1:
                numbers[random_.randrange(len(numbers))] = str(random_.choice(ODD))
                lines[at] = " ".join(numbers)
            case 2:
                lines.insert(random_.randrange(1, len(lines)), lines[at])
                lines[0] = grown(lines[0], random_)
            case 3:
                del lines[at]
            case 4:
                other = random_.randrange(1, len(lines) - 1)
                lines[at], lines[other] = lines[other], lines[at]
            case 5:
                lines[at] = " ".join(reversed(numbers))
            case 6:
                lines[at] = lines[at] + random_.choice(
                    (" ", "\t", " 7", "\0", "_1", "\x0b", "\x1c1", "٣", "+1", "1e3")
                )
            case 7:
                own, foreign = numbers, lines[random_.randrange(1, len(lines))].split()
                own[random_.randrange(len(own))] = random_.choice(foreign)
                lines[at] = " ".join(own)
            case 8:
                swap_ids(lines, random_)
            case 9:
                numbers[0] = str(random_.randrange(1, 1_200_000))
                lines[at] = " ".join(numbers)
            case 10:
                lines[0] = grown(lines[0], random_)
            case _:
                numbers[-1] = (
                    str(int(numbers[-1]) + random_.choice((-1, 1))) if numbers[-1].isdecimal() else "0"
                )
                lines[at] = " ".join(numbers)
        if len(lines) < 3:
            break
    return random_.choice(("\n", "\n", "\n", "\r\n")).join(lines) + "\n"


def grown(head: str, random_: random.Random) -> str:
    numbers = head.split()
    if len(numbers) == 2 and all(number.isdecimal() for number in numbers):
        numbers[random_.randrange(2)] = str(int(numbers[random_.randrange(2)]) + random_.choice((-1, 1)))
    return " ".join(numbers)


def swap_ids(lines: list[str], random_: random.Random) -> None:
    """Exchange the ids of two characters, which leaves a valid file."""
    first, second = (random_.randrange(1, min(34, len(lines))) for _ in range(2))
    a, b = lines[first].split(), lines[second].split()
    if len(a) == len(b) == 2:
        a[1], b[1] = b[1], a[1]
        lines[first], lines[second] = " ".join(a), " ".join(b)


def main() -> None:
    source, cases, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    lines = source.read_text(encoding="ascii").splitlines()
    accepted = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bpe.model"
        for case in range(cases):
            path.write_text(mutate(lines, random.Random(seed * 1_000_000 + case)), encoding="utf-8")
            try:
                tokenizer = TextTokenizer(path)
            except VocabularyError:
                continue
            accepted += 1
            for text in TEXTS:
                tokenizer.decode(tokenizer.encode(text))
            tokenizer.decode(range(tokenizer.vocab_size))
    print(f"accepted {accepted}, refused {cases - accepted}")


if __name__ == "__main__":
    main()
