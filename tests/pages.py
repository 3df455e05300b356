"""HTML pages: whether they stand by themselves, and what is on them."""

import base64
import re
from html.parser import HTMLParser
from io import BytesIO

from PIL import Image


class Outline(HTMLParser):
    """Tags that were opened and not closed, and the h2 headings."""

    VOID = ("meta", "link", "br", "img")

    def __init__(self, html):
        super().__init__()
        self.open, self.titles, self.wrong = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def titles(html):
    return Outline(html).titles


def embedded(html):
    found = re.findall(r"data:image/png;base64,([^\"]+)", html)
    return [Image.open(BytesIO(base64.b64decode(data))) for data in found]


def assert_self_contained(html):
    """A page loads nothing from anywhere."""
    assert not re.search(r"https?:|@import|<script|<link|<img", html)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(a.startswith(("#", "data:image/png;base64,")) for a in addresses)


def assert_well_formed(html):
    """Every tag is closed, no id stands twice, and every reference has its target."""
    outline = Outline(html)
    assert outline.open == [] and outline.wrong == []
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    used = {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', html)}
    assert used and used <= set(ids)
