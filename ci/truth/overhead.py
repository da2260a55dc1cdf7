"""What watching costs: the same program bare and under `ropewalk profile`, in turn, and the watcher's own processor time.

overhead.py ROPEWALK BIN [--rounds N]

Prints the median ratio of the program's wall and the upper end of its 95 % interval (by resampling the pairs), for 10 and for
1,000 threads, and the share of a processor that the watcher used with 100.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile

WALL_MAX, OWN_MAX = 0.03, 0.025


def crowd(options, threads, truth):
    return [os.path.join(options.bin, "programs"), "crowd", str(threads), "1400"], {**os.environ, "TRUTH": truth}


def once(options, threads, truth, watched):
    """The program's own wall, and the watcher's share of a processor."""
    command, env = crowd(options, threads, truth)
    if watched:
        command = [options.ropewalk, "profile", "--json", "--", *command]
    run = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    own = 0
    if watched:
        said = json.loads(run.stdout)
        own = said["totals"]["own_cpu_s"] / said["wall_s"]
    return json.load(open(truth))["wall"], own


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ropewalk")
    parser.add_argument("bin")
    # A thousand threads take unequally long from run to run: only many pairs tell that from what watching costs.
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    truth = os.path.join(tempfile.mkdtemp(), "truth.json")
    random.seed(1)
    ok = True
    for threads in (10, 1000):
        ratios = []
        for turn in range(options.rounds):
            order = (False, True) if turn % 2 == 0 else (True, False)
            walls = {watched: once(options, threads, truth, watched)[0] for watched in order}
            ratios.append(walls[True] / walls[False] - 1)
        means = sorted(statistics.median(random.choices(ratios, k=len(ratios))) for _ in range(2000))
        upper = means[int(0.95 * len(means))]
        ok &= upper <= WALL_MAX
        print(f"overhead.{threads}threads: median {100 * statistics.median(ratios):+.1f} % of the wall, upper 95 % bound {100 * upper:+.1f} %"
              f" (at most {100 * WALL_MAX:.0f} %), {len(ratios)} pairs", flush=True)
    own = statistics.median(once(options, 100, truth, True)[1] for _ in range(3))
    ok &= own <= OWN_MAX
    print(f"own-cpu.100threads: {100 * own:.1f} % of a processor (at most {100 * OWN_MAX:.1f} %)")
    sys.exit(0 if ok else 1)


main()
