"use strict";
(() => {
  const root = document.documentElement;
  const find = (query) => document.querySelector(query);
  const all = (query) => [...document.querySelectorAll(query)];
  const body = find("tbody"), rows = [...body.rows], query = find("#query"), tiles = find("#tiles"), side = find("#side");
  const sorters = all("thead button"), filters = all("button[data-facet]");
  const texts = new Map();
  const order = new Intl.Collator("en", { numeric: true });
  const words = new Set(["name", "orientation", "dtype"]);
  let sorted = null, falling = false;

  // Sorting: a first click sorts, a second turns it round, a third restores the order of the files.
  const compare = (key) => (a, b) => {
    const one = a.dataset[key], other = b.dataset[key];
    if (one === undefined || other === undefined) return (one === undefined) - (other === undefined);
    const found = words.has(key) ? order.compare(one, other) : Number(one) - Number(other);
    return falling ? -found : found;
  };

  function sort(button) {
    if (sorted !== button) { sorted = button; falling = false; }
    else if (!falling) falling = true;
    else { sorted = null; falling = false; }
    const key = sorted ? sorted.dataset.key : "number";
    const byNumber = (a, b) => Number(a.dataset.number) - Number(b.dataset.number);
    const byKey = compare(key);
    body.append(...rows.sort((a, b) => byKey(a, b) || byNumber(a, b)));
    for (const each of sorters) {
      each.classList.toggle("up", each === sorted && !falling);
      each.classList.toggle("down", each === sorted && falling);
    }
    for (const head of all("thead th")) {
      if (sorted && head.contains(sorted)) head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
  }

  // Filtering: any of the values chosen of one fact, all of the facts, all of the words.
  function text(row) {
    if (!texts.has(row)) texts.set(row, row.textContent.toLowerCase());
    return texts.get(row);
  }

  function filter() {
    const chosen = new Map();
    for (const { dataset } of filters.filter((each) => each.getAttribute("aria-pressed") === "true")) {
      chosen.set(dataset.facet, (chosen.get(dataset.facet) || new Set()).add(dataset.value));
    }
    const wanted = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const fits = ([facet, values]) => {
        const own = row.dataset[facet] || "";
        return facet === "state" ? own.split(" ").some((each) => values.has(each)) : values.has(own);
      };
      const shown = [...chosen].every(fits) && wanted.every((word) => text(row).includes(word));
      row.hidden = !shown;
      count += shown;
    }
    find("#shown").value = count === rows.length ? `${count} shown` : `${count} of ${rows.length} shown`;
    find("#all").hidden = !chosen.size && !wanted.length;
  }

  function clear() {
    query.value = "";
    for (const each of filters) each.setAttribute("aria-pressed", "false");
    filter();
  }

  function save() {
    const names = rows.filter((row) => !row.hidden).map((row) => `${row.dataset.name}\n`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(names, { type: "text/plain" }));
    link.download = "images.txt";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function lay(asTiles) {
    document.body.classList.toggle("tiles", asTiles);
    tiles.setAttribute("aria-pressed", String(asTiles));
  }

  for (const each of sorters) each.addEventListener("click", () => sort(each));
  for (const each of filters) {
    each.addEventListener("click", () => {
      each.setAttribute("aria-pressed", String(each.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  }
  query.addEventListener("input", filter);
  find("#all").addEventListener("click", clear);
  find("#save").addEventListener("click", save);
  find(".tools").addEventListener("submit", (event) => event.preventDefault());
  tiles.addEventListener("click", () => lay(!document.body.classList.contains("tiles")));
  side.addEventListener("input", () => root.style.setProperty("--side", `${side.value}px`));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input")) { event.preventDefault(); query.focus(); }
    if (event.key === "Escape" && event.target === query) clear();
  });

  const narrow = matchMedia("screen and (max-width: 1200px)"); // the table needs more; paper has smaller type
  narrow.addEventListener("change", () => lay(narrow.matches));
  if (narrow.matches) lay(true);
  new ResizeObserver(([entry]) => root.style.setProperty("--tools", `${entry.target.offsetHeight}px`)).observe(find(".tools"));
  filter();
  root.dataset.state = "loaded";
})();
