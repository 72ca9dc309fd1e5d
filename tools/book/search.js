/* The ranking of the search page and its excerpts, in place of Sphinx's. Sphinx puts this file below its own
   (html_search_scorer); tools/book/finding.py adds Search.words, for each page the words that it is about. */

// How much the parts of a page count, when a word that is searched for stands in them.
const PART = { title: 3, heading: 1.2, text: 2, mentioned: 0.1 };
const LIST_PAGE = 0.4; // the glossary and its like name everything and explain little
const LEAST_SHARE = 0.15; // of the best score; what is below is not shown
const MOST_RESULTS = 12;
const EXCERPT = 240;

const stemsOf = (text) => {
  const stemmer = new Stemmer();
  return new Set(splitQuery(text.toLowerCase()).map((word) => stemmer.stemWord(word)));
};

const pagesOf = (pages) => (pages === undefined ? [] : [].concat(pages));

/* The pages, the best last, as Sphinx expects them: [docname, title, anchor, description, score, filename]. */
Search._performSearch = (query, searchTerms, excludedTerms) => {
  document.getElementById("search-progress")?.replaceChildren();
  const index = Search._index;
  const count = index.docnames.length;
  const known = [...searchTerms].filter((term) => pagesOf(index.terms[term]).length + pagesOf(index.titleterms[term]).length);
  const rarity = (term) =>
    Math.log(1 + count / Math.max(1, new Set([...pagesOf(index.terms[term]), ...pagesOf(index.titleterms[term])]).size));
  const shareOf = (stems) => {
    const found = known.filter((term) => stems.has(term));
    return found.reduce((sum, term) => sum + rarity(term), 0);
  };

  const headings = index.docnames.map(() => ({ score: 0, title: null, anchor: "" }));
  for (const [title, places] of Object.entries(index.alltitles)) {
    const stems = stemsOf(title);
    // A heading that is about little else is worth more.
    const score = shareOf(stems) * (0.6 + 0.4 * (known.filter((term) => stems.has(term)).length / stems.size));
    for (const [page, anchor] of places) {
      if (index.titles[page] !== title && score > headings[page].score)
        headings[page] = { score, title, anchor: anchor === null ? "" : `#${anchor}` };
    }
  }

  const results = index.docnames.map((docname, page) => {
    const words = Search.words[docname] ?? {};
    const titleStems = stemsOf(index.titles[page]);
    const inTitle = shareOf(titleStems) * (0.6 + 0.4 * (known.filter((term) => titleStems.has(term)).length / titleStems.size));
    const heading = headings[page];
    let text = 0;
    let found = 0;
    for (const term of known) {
      const mentioned = pagesOf(index.terms[term]).includes(page) || pagesOf(index.titleterms[term]).includes(page);
      if (mentioned) found += rarity(term);
      text += rarity(term) * (((words[term] ?? 0) / 100) * PART.text + (mentioned ? PART.mentioned : 0));
    }
    const all = known.reduce((sum, term) => sum + rarity(term), 0);
    const complete = all ? (found / all) ** 2 : 0;
    const list = Search.lists.includes(docname) ? LIST_PAGE : 1;
    const score = (PART.title * inTitle + PART.heading * heading.score + text) * complete * list;
    const section = heading.title !== null && heading.score > inTitle;
    const title = section ? `${index.titles[page]} > ${heading.title}` : index.titles[page];
    return [docname, title, section ? heading.anchor : "", null, score, index.filenames[page]];
  });
  const excluded = (page) => [...excludedTerms].some((term) => pagesOf(index.terms[term]).includes(page));
  const ranked = results
    .filter((result, page) => result[4] > 0 && !excluded(page))
    .sort((one, other) => other[4] - one[4]);
  const best = ranked.length ? ranked[0][4] : 0;
  return ranked.filter((result) => result[4] >= LEAST_SHARE * best).slice(0, MOST_RESULTS).reverse();
};

/* The text of a page: no navigation, no code, no formulas, nothing that is only drawn. */
Search.makeSearchSummary = (html, keywords) => {
  const article = new DOMParser().parseFromString(html, "text/html").querySelector("article");
  if (!article) return null;
  article
    .querySelectorAll("nav, script, style, svg, pre, math, details, .headerlink, .toctree-wrapper, .export-badge, .convlib-figure")
    .forEach((node) => node.remove());
  const texts = [...article.querySelectorAll("p, li, dd, figcaption")]
    .map((node) => node.textContent.replace(/\s+/g, " ").trim())
    .filter((text) => text.length > 40);
  const hits = (text) => [...keywords].filter((term) => stemsOf(text).has(term)).length;
  const best = texts.reduce((one, other) => (hits(other) > hits(one) ? other : one), texts[0] ?? "");
  if (!best) return null;
  const first = Math.max(0, Math.min(...[...keywords].map((term) => best.toLowerCase().indexOf(term)).filter((at) => at >= 0)));
  const start = Number.isFinite(first) && first > EXCERPT / 2 ? best.lastIndexOf(" ", first - EXCERPT / 3) + 1 : 0;
  const summary = document.createElement("p");
  summary.className = "context";
  summary.textContent = (start ? "… " : "") + best.slice(start, start + EXCERPT).trim() + (start + EXCERPT < best.length ? " …" : "");
  return summary;
};
