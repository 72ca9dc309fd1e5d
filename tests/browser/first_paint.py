"""How long a reader on a slow line waits before a page shows anything. Run by `make browser`, after its tests.

A line of 1.6 Mbit/s with 150 ms there and back, and a processor four times as slow as this one: a telephone. The
number depends on this machine, so no test judges by it; tests/test_book.py counts what a page has to wait for.
"""

from served import PAGES, browsing, serving

LINE = {"offline": False, "latency": 150, "downloadThroughput": 1.6e6 / 8, "uploadThroughput": 750e3 / 8}
SLOWER = 4
SHOWN = ["chapters/introduction.html", "chapters/one_kernel.html", "chapters/digits.html", "chapters/api.html"]
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def first_paint(browser, address):
    """The milliseconds until the first text or picture, with nothing kept from before."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", LINE)
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.goto(address, wait_until="load", timeout=120_000)
    painted = page.wait_for_function(PAINT).json_value()
    context.close()
    return painted


if __name__ == "__main__":
    with serving() as address, browsing() as browser:
        for name in [page for page in PAGES if page in SHOWN]:
            times = sorted(first_paint(browser, f"{address}/{name}") for _ in range(3))
            print(f"{name}: first paint after {times[1] / 1000:.1f} s (three times: "
                  f"{', '.join(f'{each / 1000:.1f}' for each in times)})", flush=True)
