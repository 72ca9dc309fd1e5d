/* The ranking of the search page and its excerpts, in place of Sphinx's. Sphinx puts this file below its own
   (html_search_scorer); tools/book/finding.py adds Search.words, for each page the words that it is about. */

// How much the parts of a page count, when a word that is searched for stands in them; its address is one of them.
const PART = { title: 3, name: 1.5, heading: 1.2, text: 2, mentioned: 0.1 };
const LIST_PAGE = 0.4; // the glossary and its like name everything and explain little
const LEAST_SHARE = 0.15; // of the best score; what is below is not shown
const MOST_RESULTS = 12;
const EXCERPT = 240;

/* Twice: Porter's stem of "biases" is "bias", and that of "bias" is "bia". */
const stemOf = (word, stemmer = new Stemmer()) => stemmer.stemWord(stemmer.stemWord(word));

const stemsOf = (text) => {
  const stemmer = new Stemmer();
  return new Set(splitQuery(text.toLowerCase()).map((word) => stemOf(word, stemmer)));
};

/* The search index has the titles of pages with their numbers, in HTML, and those of sections without. */
const withoutNumber = (title) => title.replace(/<[^>]*>/g, "").replace(/^[\d.]+\s+/, "");

/* For each stem the pages that it stands on. */
const pagesByStem = (index) => {
  const stemmer = new Stemmer();
  const found = new Map();
  for (const [word, pages] of [...Object.entries(index.terms), ...Object.entries(index.titleterms)]) {
    const stem = stemOf(word, stemmer);
    found.set(stem, new Set([...(found.get(stem) ?? []), ...[].concat(pages)]));
  }
  return found;
};

/* The pages, the best last, as Sphinx expects them: [docname, title, anchor, description, score, filename]. */
Search._performSearch = (query, searchTerms, excludedTerms) => {
  document.getElementById("search-progress")?.replaceChildren();
  const index = Search._index;
  const count = index.docnames.length;
  const pagesWith = pagesByStem(index);
  const known = [...new Set([...searchTerms].map((term) => stemOf(term)))].filter((term) => pagesWith.has(term));
  const rarity = (term) => Math.log(1 + count / pagesWith.get(term).size);
  // The best heading of each page; one that is about little else is worth more.
  const inHeading = (title) => {
    const stems = stemsOf(title);
    const found = known.filter((term) => stems.has(term));
    const share = 0.6 + (0.4 * found.length) / stems.size;
    return { found: new Set(found), share, score: share * found.reduce((sum, term) => sum + rarity(term), 0) };
  };
  const headings = index.docnames.map(() => ({ found: new Set(), share: 0, score: 0, title: null, anchor: "" }));
  for (const [title, places] of Object.entries(index.alltitles)) {
    const heading = inHeading(title);
    for (const [page, anchor] of places) {
      if (withoutNumber(index.titles[page]) !== title && heading.score > headings[page].score)
        headings[page] = { ...heading, title, anchor: anchor === null ? "" : `#${anchor}` };
    }
  }

  const results = index.docnames.map((docname, page) => {
    const words = Search.words[docname] ?? {};
    const pageTitle = inHeading(withoutNumber(index.titles[page]));
    const name = stemsOf(docname.split("/").pop().replaceAll("_", " "));
    const heading = headings[page];
    // How much the page is about each word; a page that is about all of them counts more than one about a single one.
    const about = known.map((term) => {
      return rarity(term) * (PART.title * pageTitle.share * pageTitle.found.has(term)
        + PART.name * name.has(term)
        + PART.heading * heading.share * heading.found.has(term)
        + (PART.text * (words[term] ?? 0)) / 100 + PART.mentioned * pagesWith.get(term).has(page));
    });
    const list = Search.lists.includes(docname) ? LIST_PAGE : 1;
    const score = list * (about.reduce((sum, each) => sum + each, 0) + known.length * Math.min(...about));
    const section = heading.title !== null && heading.score > pageTitle.score;
    const title = section ? `${index.titles[page]} > ${heading.title}` : index.titles[page];
    return [docname, title, section ? heading.anchor : "", null, score, index.filenames[page]];
  });
  const excluded = (page) => [...excludedTerms].some((term) => pagesWith.get(stemOf(term))?.has(page));
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
    .forEach((node) => node.replaceWith(node.localName === "math" ? "…" : ""));
  const texts = [...article.querySelectorAll("p, li, dd, figcaption")]
    .map((node) => node.textContent.replace(/\s+/g, " ").trim())
    .filter((text) => text.length > 40);
  const hits = (text) => [...keywords].filter((term) => stemsOf(text).has(stemOf(term))).length;
  const best = texts.reduce((one, other) => (hits(other) > hits(one) ? other : one), texts[0] ?? "");
  if (!best) return null;
  const first = Math.max(0, Math.min(...[...keywords].map((term) => best.toLowerCase().indexOf(term)).filter((at) => at >= 0)));
  const start = Number.isFinite(first) && first > EXCERPT / 2 ? best.lastIndexOf(" ", first - EXCERPT / 3) + 1 : 0;
  const summary = document.createElement("p");
  summary.className = "context";
  summary.textContent = (start ? "… " : "") + best.slice(start, start + EXCERPT).trim() + (start + EXCERPT < best.length ? " …" : "");
  return summary;
};
