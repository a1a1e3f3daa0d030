"""The site as built, in the browser of the system: ``make browser``."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import specdesc
from tests.house.devtools import Browser, installed

pytestmark = pytest.mark.browser

SITE = Path(specdesc.__file__).parents[1] / "docs" / "_build" / "html"
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html"))
PHONE = 390

#: Formulas that were left as text, pictures that did not load, and how wide the page is.
LOOK = r"""(() => {
  const text = document.body.cloneNode(true);
  text.querySelectorAll("pre, code, script, style").forEach(each => each.remove());
  return {
    raw: (text.textContent.match(/\\\(|\\\[|\$\$|\\(frac|operatorname|le)\b/g) || []),
    broken: [...document.images].filter(each => !each.naturalWidth).map(each => each.src),
    wide: document.documentElement.scrollWidth - window.innerWidth,
    empty: [...document.querySelectorAll("math")].filter(
      each => each.getBoundingClientRect().width < 1 && each.checkVisibility()).length,
  };
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if installed() is None:
        pytest.skip("no Chromium on this system")
    if not PAGES:
        pytest.skip("the site is not built: make docs")
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def complaints(events):
    """Return errors of scripts, and everything that is asked of another host."""
    for event in events:
        kind, said = event.get("method"), event.get("params", {})
        if kind == "Runtime.exceptionThrown":
            yield said["exceptionDetails"]["text"]
        if kind == "Runtime.consoleAPICalled" and said["type"] in {"error", "assert"}:
            yield str(said["args"])
        if kind == "Log.entryAdded" and said["entry"]["level"] == "error":
            yield said["entry"]["text"]
        if kind == "Network.requestWillBeSent":
            url = said["request"]["url"]
            if not url.startswith(("file:", "data:", "about:")):
                yield f"asks {url}"


@pytest.mark.parametrize("width", [PHONE, 1280])
def test_every_page_is_whole(browser, width):
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=width == PHONE,
    )
    wrong = {}
    for page in PAGES:
        events = browser.open((SITE / page).as_uri())
        seen = browser.evaluate(LOOK)
        found = list(complaints(events))
        found += [f"a formula as text: {seen['raw'][:3]}"] if seen["raw"] else []
        found += [f"no picture: {each}" for each in seen["broken"]]
        found += [f"{seen['wide']} pixels too wide"] if seen["wide"] > 0 else []
        found += [f"{seen['empty']} empty formulas"] if seen["empty"] else []
        if found:
            wrong[page] = found
    assert wrong == {}


def test_the_dark_side_is_dark(browser):
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.call("Emulation.setEmulatedMedia", features=dark)
    browser.open((SITE / "index.html").as_uri())
    colour = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    browser.call("Emulation.setEmulatedMedia", features=[])
    assert max(int(each) for each in re.findall(r"\d+", colour)[:3]) < 64


def test_the_search_finds_a_function(browser):
    browser.open((SITE / "search.html").as_uri() + "?q=orthogonalize")
    wait = """new Promise(done => { let tries = 0; const look = () => {
      const found = [...document.querySelectorAll("#search-results a")].map(each => each.href);
      found.length || ++tries > 100 ? done(found) : setTimeout(look, 100); }; look(); })"""
    assert any("specdesc.orthogonalize" in each for each in browser.evaluate(wait))


class Links(HTMLParser):
    """The places that a page has, and those that it leads to."""

    def __init__(self, path):
        super().__init__()
        self.places, self.targets = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        known = dict(attrs)
        self.places |= {known[each] for each in ("id", "name") if known.get(each)}
        self.targets |= {known[each] for each in ("href", "src") if known.get(each)}


def test_no_link_of_the_site_is_dead():
    links = {page: Links(SITE / page) for page in PAGES}
    dead = set()
    for page, found in links.items():
        for target in found.targets:
            if re.match(r"[a-z]+:", target):
                continue
            address, place = urldefrag(unquote(target))
            path = (SITE / page).parent / address.partition("?")[0] if address else SITE / page
            there = links.get(str(path.resolve().relative_to(SITE.resolve())))
            if not path.exists() or (place and there and place not in there.places):
                dead.add((page, target))
    assert dead == set()
