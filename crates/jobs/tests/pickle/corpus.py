"""Values of Python for the test of our pickle: made from a seed, pickled, and compared with what came back.

    corpus.py make SEED COUNT      prints one pickle a line, in hex, the protocols 0 to 5 in turn
    corpus.py check SEED COUNT     reads one line for each of them: the JSON that was read from it, and the pickle (in hex) that
                                   was written from that JSON; says what differs, or `ok COUNT`
    corpus.py load                 reads one pickle a line, in hex, and loads each as Python does, whatever it does
    corpus.py opcodes              prints the codes of all opcodes, in hex
"""

import collections
import datetime
import decimal
import json
import math
import pathlib
import pickle
import pickletools
import random
import sys
import uuid
import zoneinfo

UTC = datetime.timezone.utc


def leaf(dice):
    kind = dice.randrange(24)
    if kind == 0:
        return None
    if kind == 1:
        return dice.random() < 0.5
    if kind == 2:
        return dice.randrange(-300, 70_000)
    if kind == 3:
        return dice.choice([-1, 1]) * dice.getrandbits(dice.randrange(1, 400))
    if kind == 4:
        return dice.uniform(-1e6, 1e6)
    if kind == 5:
        return dice.choice([0.0, -0.0, 1e300, -1e-300, 5e-324, 1e16, 123456789.125])
    if kind in (6, 7, 8):
        return text(dice)
    if kind == 9:
        return dice.randbytes(dice.randrange(0, 300))
    if kind == 10:
        return bytearray(dice.randbytes(dice.randrange(0, 20)))
    if kind == 11:
        return datetime.datetime(dice.randrange(1, 10_000), dice.randrange(1, 13), dice.randrange(1, 29),
                                 dice.randrange(24), dice.randrange(60), dice.randrange(60),
                                 dice.choice([0, dice.randrange(1_000_000)]), fold=dice.randrange(2))
    if kind == 12:
        zone = dice.choice([UTC, datetime.timezone(datetime.timedelta(minutes=dice.randrange(-1439, 1440))),
                            datetime.timezone(datetime.timedelta(seconds=dice.randrange(86_000), microseconds=dice.randrange(9))),
                            datetime.timezone(datetime.timedelta(hours=2), "CEST"), zoneinfo.ZoneInfo("UTC")])
        return datetime.datetime(2026, 11, dice.randrange(1, 31), 10, 57, 46, 866905, tzinfo=zone)
    if kind == 13:
        return datetime.date(dice.randrange(1, 10_000), dice.randrange(1, 13), dice.randrange(1, 29))
    if kind == 14:
        return datetime.time(dice.randrange(24), dice.randrange(60), dice.randrange(60), dice.choice([0, 5]),
                             tzinfo=dice.choice([None, UTC]))
    if kind == 15:
        return datetime.timedelta(days=dice.randrange(-9_000, 9_000), seconds=dice.randrange(86_400),
                                  microseconds=dice.choice([0, 500_000, dice.randrange(1_000_000)]))
    if kind == 16:
        return datetime.timezone(datetime.timedelta(minutes=dice.randrange(-1439, 1440)))
    if kind == 17:
        return decimal.Decimal(dice.choice(["1.50", "-0", "1E+30", "NaN", "123456789012345678901234567890.5"]))
    if kind == 18:
        return uuid.UUID(int=dice.getrandbits(dice.choice([128, 60])))
    if kind == 19:
        return complex(dice.uniform(-9, 9), dice.uniform(-9, 9))
    if kind == 20:
        return frozenset(dice.randrange(1_000) for _ in range(dice.randrange(4)))
    if kind == 21:
        return {text(dice) for _ in range(dice.randrange(4))}
    if kind == 22:
        return pathlib.PurePosixPath(dice.choice(["/srv/a/b.png", "a/b", ".", "/"]))
    return ()


def text(dice):
    letters = dice.choice(["abc xyz", "äöüß", "日本語", "\\u0041\\\\\n\r\0\x1a'\"", "😀é\u2028"])
    return "".join(dice.choice(letters) for _ in range(dice.choice([0, 1, 5, 300])))


def value(dice, depth, shared):
    kind = dice.randrange(12) if depth > 0 else 0
    if shared and dice.random() < 0.1:
        return dice.choice(shared)
    if kind < 4:
        made = leaf(dice)
    elif kind < 6:
        made = [value(dice, depth - 1, shared) for _ in range(dice.choice([0, 1, 2, 5]))]
    elif kind < 8:
        made = tuple(value(dice, depth - 1, shared) for _ in range(dice.choice([0, 1, 2, 3, 4])))
    elif kind < 9:
        made = collections.deque(value(dice, depth - 1, shared) for _ in range(dice.randrange(3)))
    else:
        pairs = [(key(dice), value(dice, depth - 1, shared)) for _ in range(dice.choice([0, 1, 4]))]
        pairs = list({as_key(k): (k, v) for k, v in pairs}.values())
        made = dice.choice([dict, dict, collections.OrderedDict, lambda p: collections.defaultdict(list, p)])(pairs)
    shared.append(made)
    return made


def key(dice):
    return dice.choice([text(dice), dice.randrange(-5, 300), dice.getrandbits(80), 1.5, True, None])


def as_key(it):
    return it if isinstance(it, str) else json.dumps(it)


def as_json(it):
    """What the table says that a value becomes."""
    if it is None or isinstance(it, (bool, int, float, str)):
        return it
    if isinstance(it, (bytes, bytearray, list, tuple, set, frozenset, collections.deque)):
        return [as_json(item) for item in it]
    if isinstance(it, dict):
        return {as_key(k): as_json(v) for k, v in it.items()}
    if isinstance(it, (datetime.datetime, datetime.date, datetime.time)):
        return it.isoformat()
    if isinstance(it, datetime.timedelta):
        micros = (it.days * 86_400 + it.seconds) * 1_000_000 + it.microseconds
        return micros // 1_000_000 if micros % 1_000_000 == 0 else micros / 1e6
    if isinstance(it, datetime.timezone):
        return datetime.datetime(2026, 1, 1, tzinfo=it).isoformat()[19:]
    if isinstance(it, (decimal.Decimal, uuid.UUID, pathlib.PurePath)):
        return str(it)
    if isinstance(it, complex):
        return [it.real, it.imag]
    raise TypeError(type(it))


def same(a, b):
    """Equal, and of equal types: `1`, `1.0` and `True` are three values."""
    if type(a) is not type(b):
        return False
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, float):
        return a == b and math.copysign(1, a) == math.copysign(1, b)
    return a == b


def values(seed, count):
    for number in range(count):
        dice = random.Random(f"{seed}-{number}")
        yield number, value(dice, dice.randrange(5), [])


def make(seed, count):
    for number, it in values(seed, count):
        # The pickler written in Python chooses other opcodes here and there.
        dumps = pickle._dumps if number % 7 == 0 else pickle.dumps
        blob = dumps(it, protocol=number % 6)
        if number % 5 == 0:
            blob = pickletools.optimize(blob)
        print(blob.hex())


def check(seed, count):
    for number, it in values(seed, count):
        line = sys.stdin.readline().rstrip("\n")
        read, _, written = line.partition("\t")
        wanted = as_json(it)
        if not written:
            sys.exit(f"value {number} of seed {seed}, {it!r}, was refused: {read}")
        got = json.loads(read)
        if not same(got, wanted):
            sys.exit(f"value {number} of seed {seed}, {it!r}: {got!r} and not {wanted!r}")
        blob = bytes.fromhex(written)
        for loads in (pickle.loads, pickle._loads):
            if not same(loads(blob), got):
                sys.exit(f"value {number} of seed {seed}: written again it loads as {loads(blob)!r} and not {got!r}")
    print(f"ok {count}")


def load():
    for line in sys.stdin:
        try:
            pickle.loads(bytes.fromhex(line))
        except BaseException as error:
            print(f"raised {type(error).__name__}", file=sys.stderr)


def main():
    sys.setrecursionlimit(10_000)
    # The digits of an int have their own limit in newer versions.
    getattr(sys, "set_int_max_str_digits", lambda _: None)(0)
    match sys.argv[1:]:
        case ["make", seed, count]:
            make(seed, int(count))
        case ["check", seed, count]:
            check(seed, int(count))
        case ["load"]:
            load()
        case ["opcodes"]:
            print(" ".join(f"{ord(code.code):02x}" for code in pickletools.opcodes))
        case _:
            sys.exit(__doc__)


main()
