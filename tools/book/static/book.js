/* What the pages do by themselves; without scripts they can be read all the same. */

/* A box that scrolls sideways can be reached and scrolled by keyboard; one that does not is no stop on the way. */
const SCROLLING = [
  [".math .display", "formula"],
  ["div.highlight pre, .cell_output pre", "text"],
  [".cell_output .text_html, .pst-scrollable-table-container", "table or figure"],
];

const markScrolling = () => {
  for (const [selector, kind] of SCROLLING) {
    for (const box of document.querySelectorAll(selector)) {
      if (box.scrollWidth > box.clientWidth + 1) {
        const number = box.parentElement.querySelector(":scope > .eqno")?.firstChild.textContent ?? "";
        box.tabIndex = 0;
        box.setAttribute("role", "region");
        box.setAttribute("aria-label", `${kind} ${number}, scrolls sideways`.replace(" ,", ","));
        box.classList.add("scrolls");
      } else if (box.classList.contains("scrolls")) {
        for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
        box.classList.remove("scrolls");
      }
    }
  }
};

/* A link to something that is folded unfolds it. */
const unfoldTarget = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  target.scrollIntoView();
};

/* Paper is white, whatever the screen was. */
let themeOnScreen;
const printLight = () => {
  themeOnScreen ??= document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
};
const backToScreen = () => {
  if (themeOnScreen) document.documentElement.dataset.theme = themeOnScreen;
  themeOnScreen = undefined;
};

/* The buttons that open solutions say which. */
const nameToggles = () => {
  for (const button of document.querySelectorAll(".toggle-button")) {
    const title = button.closest(".admonition-title")?.textContent.replace(/\s+/g, " ").trim();
    if (title) button.setAttribute("aria-label", title);
  }
};

const whenBuilt = () => {
  markScrolling();
  unfoldTarget();
  nameToggles();
  window.addEventListener("resize", markScrolling);
  document.fonts.ready.then(markScrolling); // the formulas' own font makes them wider
  window.addEventListener("hashchange", unfoldTarget);
  document.addEventListener("toggle", markScrolling, true);
};

window.addEventListener("beforeprint", printLight);
window.addEventListener("afterprint", backToScreen);
matchMedia("print").addEventListener("change", (print) => (print.matches ? printLight() : backToScreen()));
if (document.readyState === "complete") whenBuilt();
else window.addEventListener("load", whenBuilt);
