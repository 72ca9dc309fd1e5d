"""Draw tools/book/static/card.png, the picture that goes with a link to the book: python tools/book/card.py

Only needed again when the drawing of the layer changes; that drawing is layer.svg beside it.
"""

import sys
from pathlib import Path

STATIC = Path(__file__).parent / "static"
sys.path.append(str(Path(__file__).parents[2] / "tests" / "browser"))

CARD = """
<body style="margin: 0; width: 1200px; height: 630px; display: flex; background: white; color: #222;
             font-family: 'DejaVu Sans', sans-serif; align-items: center; gap: 40px">
  <div style="flex: 1; padding-left: 60px">
    <p style="font-size: 60px; font-weight: bold; line-height: 1.15; margin: 0">The Convolution Layer</p>
    <p style="font-size: 30px; line-height: 1.4; margin: 30px 0 0">A course that becomes a library.</p>
  </div>
  <div style="padding-right: 60px">{drawing}</div>
</body>
"""

if __name__ == "__main__":
    from served import browsing

    with browsing() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 630})
        page.set_content(CARD.format(drawing=(STATIC / "layer.svg").read_text(encoding="utf-8")))
        page.screenshot(path=STATIC / "card.png")
