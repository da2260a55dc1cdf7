"""Looks at the page of `profile --html` in a real browser: nothing is complained about, every lane is drawn, and it can be read
on a screen and on a phone.

page.py ROPEWALK BIN          needs chromium: apt-get install chromium
"""

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

# The page in a frame of a given width, and a script that looks at it from outside.
FRAME = """<!doctype html><meta charset="utf-8"><body style="margin:0">
<iframe id="f" style="width:%dpx;height:900px;border:0" srcdoc="%s"></iframe><pre id="out"></pre>
<script>
document.getElementById("f").onload = event => {
  const d = event.target.contentDocument, w = event.target.contentWindow;
  const lanes = [...d.querySelectorAll(".rw-lane")];
  const drawn = lanes.filter(l => [...l.querySelectorAll("rect")].some(r => r.getBoundingClientRect().width > 0));
  const sizes = [...d.querySelectorAll("p, td, li, svg text")].map(e => {
    const svg = e.closest("svg");
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    return parseFloat(w.getComputedStyle(e).fontSize) * scale;
  });
  const fills = new Set([...d.querySelectorAll(".rw-lane rect")].map(r => w.getComputedStyle(r).fill));
  const letters = new Set([...d.querySelectorAll(".rw-lane text")].map(t => t.textContent).filter(t => t.length === 1));
  document.getElementById("out").textContent = JSON.stringify({
    lanes: lanes.length, drawn: drawn.length, smallest: Math.min(...sizes), wide: d.documentElement.scrollWidth,
    width: w.innerWidth, verdict: d.querySelector(".verdict").textContent, fills: fills.size, letters: letters.size,
  });
};
</script>"""


def main():
    ropewalk, bin = sys.argv[1:]
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    if not browser:
        sys.exit("looking at the page needs a browser: apt-get install chromium")
    with tempfile.TemporaryDirectory() as scratch:
        page = os.path.join(scratch, "page.html")
        recording = os.path.join(scratch, "a.rwp")
        subprocess.run([ropewalk, "profile", "--record", recording, "--html", page, "--",
                        os.path.join(bin, "programs"), "convoy-sleep", "10"], check=True, stderr=subprocess.DEVNULL)
        threads = {t["tid"] for t in json.load(open(recording))["threads"]}
        for width in (1280, 390):
            frame = os.path.join(scratch, f"{width}.html")
            with open(frame, "w") as file:
                file.write(FRAME % (width, html.escape(open(page).read(), quote=True)))
            run = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                                  f"--user-data-dir={scratch}/profile", "--virtual-time-budget=3000", "--dump-dom", f"file://{frame}"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120)
            complaints = re.findall(r"CONSOLE.*", run.stderr)
            seen = json.loads(html.unescape(re.search(r'<pre id="out">(.*?)</pre>', run.stdout, re.S).group(1)))
            print(f"page at {width} px: {seen['drawn']} of {seen['lanes']} lanes drawn, smallest text {seen['smallest']:.1f} px, "
                  f"{seen['fills']} colours, {seen['letters']} letters, {len(complaints)} complaints")
            assert not complaints, complaints
            assert seen["lanes"] == seen["drawn"] == len(threads), "a lane is missing"
            assert seen["wide"] <= width, "the page is wider than the window"
            assert seen["smallest"] >= 8, "text too small to read"
            assert seen["fills"] >= 2 and seen["letters"] >= 2, "states look alike"
            assert "lock" in seen["verdict"]


main()
