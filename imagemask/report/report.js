/* The gallery: filters, overlays, the large view. What is shown follows from the address (#split=test&pair=KEY) alone, so
   that every view can be linked to and the back button works. Blocks of thumbnails are parsed when they are needed. */
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const BATCH = 60; // cards that are added at a time
  const PARSED = 12; // blocks that are kept parsed
  const NEAR = "600px"; // how far outside of the window a thumbnail is decoded
  const SVG = "http://www.w3.org/2000/svg";
  const FIELDS = ["split", "patient", "variant", "flag", "from", "to"];

  function made(tag, name, text) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  markSection();
  if (!$("pairs")) return;

  const data = JSON.parse($("pairs").textContent);
  const total = data.keys.length;
  const positions = new Map(data.keys.map((key, at) => [key, at]));
  const root = document.documentElement;
  const form = $("filters"), grid = $("grid"), more = $("more"), view = $("view");
  const number = new Intl.NumberFormat("en");
  const measure = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });

  /* Columns, a pair at a time */
  const text = (column, at) => data[column].names[data[column].at[at]];
  const splitOf = (at) => text("split", at) || "not assigned";
  const variantOf = (at) => text("variant", at) || "plain";
  const areaOf = (at) => (data.area[at] ? `${measure.format(data.area[at])} ${data.unit}` : "nothing outlined");

  /* Thumbnails */
  const parsed = new Map();

  function thumbnail(at) {
    const block = Math.floor(at / data.block);
    if (!parsed.has(block)) {
      const script = $(`block-${block}`);
      // While the page is being read, a block may be there in part: it is whole when something follows it.
      if (!script || (document.readyState === "loading" && !script.nextElementSibling)) return null;
      if (parsed.size >= PARSED) parsed.delete(parsed.keys().next().value);
      parsed.set(block, JSON.parse(script.textContent));
    }
    return parsed.get(block)[at % data.block];
  }

  /* The picture of a pair with its outlines; `alt` is empty where a caption says what it is. */
  function picture(thumb, alt) {
    if (typeof thumb === "string") return [made("span", "unreadable", "cannot be shown")];
    const [uri, width, height, outlines] = thumb;
    const image = new Image(width, height);
    image.alt = alt;
    image.decoding = "async";
    image.src = uri;
    const masks = document.createElementNS(SVG, "svg");
    masks.setAttribute("class", "masks");
    masks.setAttribute("viewBox", `0 0 ${data.fine * width} ${data.fine * height}`);
    masks.setAttribute("aria-hidden", "true");
    for (const [position, path] of outlines) {
      const shape = document.createElementNS(SVG, "path");
      shape.setAttribute("class", `c${position % 7} d${Math.floor(position / 7) % 4}`);
      shape.setAttribute("d", path);
      masks.append(shape);
    }
    return [image, masks];
  }

  const waiting = new Set();
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) fill(entry.target);
  }, { rootMargin: NEAR });

  function fill(card) {
    const thumb = thumbnail(positions.get(card.dataset.key));
    if (thumb === null) {
      waiting.add(card);
      return;
    }
    near.unobserve(card);
    waiting.delete(card);
    card.firstChild.replaceChildren(...picture(thumb, ""));
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const card of [...waiting]) fill(card);
    if (view.open && shown >= 0) show(shown);
  });

  /* The grid: cards are added as its end comes near */
  let found = []; // positions that the filters let through
  let place = new Map(); // position: its place in found

  function card(at) {
    const link = made("a", "pair");
    link.dataset.key = data.keys[at];
    link.href = address(asked, data.keys[at]);
    const caption = made("span", "caption");
    caption.append(made("span", "key mono", data.keys[at]), made("span", "hidden", ", "),
      made("span", "muted", `${splitOf(at)} · ${areaOf(at)}`));
    link.append(made("span", "picture"), caption);
    const item = made("li");
    item.append(link);
    near.observe(link);
    return item;
  }

  function draw(count) {
    const start = grid.children.length;
    grid.append(...found.slice(start, Math.max(count, start)).map(card));
    const left = found.length - grid.children.length;
    more.hidden = left <= 0;
    more.textContent = `Show ${number.format(Math.min(left, BATCH))} more of ${number.format(left)}`;
  }

  more.addEventListener("click", () => {
    const start = grid.children.length;
    draw(start + BATCH);
    grid.children[start]?.firstChild.focus();
  });
  new IntersectionObserver((entries) => {
    // The button stays where it is while it has the focus, or that would be lost.
    if (entries[0].isIntersecting && document.activeElement !== more) draw(grid.children.length + BATCH);
  }, { rootMargin: "1000px" }).observe(more.parentElement);

  /* Filters */
  function options(select, column, blank, every) {
    const counts = data[column].names.map(() => 0);
    for (const at of data[column].at) counts[at] += 1;
    select.append(new Option(every, ""));
    data[column].names.forEach((name, at) => {
      select.append(new Option(`${name || blank} (${number.format(counts[at])})`, name || "-"));
    });
    select.parentElement.hidden = data[column].names.length < 2;
  }

  function prepare() {
    options($("f-split"), "split", "not assigned", "All splits");
    options($("f-variant"), "variant", "plain", "All variants");
    $("patients").append(...data.patient.names.filter(Boolean).map((name) => new Option(name, name)));
    const counts = data.flag.names.map(() => 0);
    for (const flags of data.flags) for (const flag of flags) counts[flag] += 1;
    $("f-flag").append(new Option("Any or none", ""), new Option("No flag", "-"), new Option("Any flag", "*"));
    data.flag.names.forEach((name, at) => {
      const title = data.flag.titles[at];
      $("f-flag").append(new Option(`${name}${title ? `: ${title}` : ""} (${number.format(counts[at])})`, name));
    });
    $("f-flag").parentElement.hidden = !data.flag.names.length;
    $("unit").textContent = data.unit;
    const most = data.area.reduce((largest, area) => Math.max(largest, area), 0);
    $("f-from").placeholder = "0";
    $("f-to").placeholder = String(most);
    form.hidden = $("gallery-bar").hidden = false;
  }

  function patientFits(wanted) {
    if (!wanted) return () => true;
    const exact = data.patient.names.indexOf(wanted);
    if (exact >= 0) return (at) => data.patient.at[at] === exact;
    const part = wanted.toLowerCase();
    const names = data.patient.names.map((name) => name.toLowerCase().includes(part));
    return (at) => names[data.patient.at[at]] || data.keys[at].toLowerCase().includes(part);
  }

  function flagFits(wanted) {
    if (!wanted) return () => true;
    if (wanted === "-") return (at) => !data.flags[at].length;
    if (wanted === "*") return (at) => data.flags[at].length > 0;
    const flag = data.flag.names.indexOf(wanted);
    return (at) => data.flags[at].includes(flag);
  }

  function oneOf(column, wanted) {
    if (!wanted) return () => true;
    const position = data[column].names.indexOf(wanted === "-" ? "" : wanted);
    return (at) => data[column].at[at] === position;
  }

  function between(from, to) {
    const least = from === "" ? -Infinity : Number(from), most = to === "" ? Infinity : Number(to);
    return (at) => data.area[at] >= least && data.area[at] <= most;
  }

  function apply(wanted) {
    const tests = [oneOf("split", wanted.split), oneOf("variant", wanted.variant), patientFits(wanted.patient),
      flagFits(wanted.flag), between(wanted.from, wanted.to)];
    found = data.keys.map((_, at) => at).filter((at) => tests.every((fits) => fits(at)));
    place = new Map(found.map((at, order) => [at, order]));
    grid.replaceChildren();
    near.disconnect();
    waiting.clear();
    draw(BATCH);
    $("count").textContent = found.length === total
      ? `${number.format(total)} pair${total === 1 ? "" : "s"}`
      : `${number.format(found.length)} of ${number.format(total)} pairs`;
  }

  /* The address: what is asked for, and which pair is in the large view */
  let asked = null; // the filters, as they stand in the address

  function address(wanted, key) {
    const parts = new URLSearchParams();
    for (const name of FIELDS) if (wanted[name]) parts.set(name, wanted[name]);
    if (key !== undefined) parts.set("pair", key);
    return `#${parts}`;
  }

  function replace(hash) {
    history.replaceState(null, "", hash === "#" ? location.pathname + location.search : hash);
  }

  function ofForm() {
    const given = new FormData(form);
    return Object.fromEntries(FIELDS.map((name) => [name, String(given.get(name) ?? "").trim()]));
  }

  function filter() {
    asked = ofForm();
    replace(address(asked));
    apply(asked);
  }

  function setField(name, value) {
    const field = form.elements[name];
    field.value = value;
    if (field.value !== value) field.value = ""; // a choice that this dataset has not
    return field.value;
  }

  function route(first) {
    const hash = location.hash.slice(1);
    const given = new URLSearchParams(hash.includes("=") ? hash : "");
    if (hash && !hash.includes("=") && !first) { // a heading: the filters stay
      if (view.open) view.close();
      return;
    }
    const wanted = Object.fromEntries(FIELDS.map((name) => [name, setField(name, given.get(name) ?? "")]));
    if (JSON.stringify(wanted) !== JSON.stringify(asked)) {
      asked = wanted;
      apply(wanted);
    }
    const key = given.get("pair");
    if (key === null) {
      if (view.open) view.close();
      else if (hash && hash.includes("=")) $("gallery").scrollIntoView();
    } else if (positions.has(key)) {
      entered = !first && !view.open;
      show(positions.get(key));
    } else {
      $("count").textContent = `There is no pair ${key} in this dataset`;
      $("gallery").scrollIntoView();
    }
  }

  let typing = 0;
  form.addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(filter, event.target.tagName === "INPUT" ? 150 : 0);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter, 0));
  window.addEventListener("hashchange", () => route(false));

  /* The large view */
  let shown = -1; // the position in it
  let entered = false; // by a step of the history, which closing takes back

  function show(at) {
    shown = at;
    const key = data.keys[at];
    $("view-title").textContent = key;
    $("view-place").textContent = place.has(at)
      ? `${number.format(place.get(at) + 1)} of ${number.format(found.length)}` : "outside of the filters";
    $("view-previous").disabled = !place.has(at) || place.get(at) === 0;
    $("view-next").disabled = !place.has(at) || place.get(at) === found.length - 1;
    const facts = [["Patient", text("patient", at) || "not published"], ["Split", splitOf(at)], ["Slice", data.slice[at]],
      ["Variant", variantOf(at)], ["Category", text("category", at)], ["Outlined", areaOf(at)],
      ["Flags", data.flags[at].map((flag) => [data.flag.names[flag], data.flag.titles[flag]].filter(Boolean).join(": "))
        .join("; ")], ["Pixels", data.size[at]], ["Source", text("source", at)]];
    $("view-facts").replaceChildren(...facts.filter(([, said]) => said !== "")
      .flatMap(([name, said]) => [made("dt", "", name), made("dd", "", said)]));
    if (!view.open) {
      view.showModal();
      $("view-title").focus(); // not by autofocus: browsers look for that when the page loads, too, and complain
    }
    const thumb = thumbnail(at);
    if (thumb === null) return; // shown again when the page has been read
    if (typeof thumb === "string") {
      $("view-picture").replaceChildren(made("p", "unreadable", "This pair cannot be shown"));
      $("view-note").textContent = thumb;
      return;
    }
    $("view-picture").replaceChildren(...picture(thumb, `${key}: ${areaOf(at)}`));
    enlarge(at, thumb);
  }

  /* The full-size picture in place of the thumbnail: from the page, else from beside it, else say why not. */
  function enlarge(at, [, width, height]) {
    const thumbed = `Shown is the thumbnail, ${width} x ${height}`;
    const own = $(`full-${at}`);
    if (!own && !data.folder) {
      $("view-note").textContent =
        `${thumbed}: this page does not lie in its dataset, where it would find the full-size picture.`;
      return;
    }
    const image = new Image();
    image.onload = () => {
      if (shown !== at) return;
      const size = `${image.naturalWidth} x ${image.naturalHeight}`;
      if (size !== data.size[at]) { // the outlines would lie elsewhere
        $("view-note").textContent = `${thumbed}: the picture is ${size} by now, not ${data.size[at]}. ` +
          "This page is older than its dataset; imagemask report makes it anew.";
        return;
      }
      $("view-picture").querySelector("img").src = image.src;
      $("view-note").textContent = `Full size, ${size}.`;
    };
    image.onerror = () => {
      if (shown === at) $("view-note").textContent = `${thumbed}: images/${data.keys[at]}.png is not beside this page.`;
    };
    $("view-note").textContent = "";
    image.src = own ? JSON.parse(own.textContent) : `${data.folder}${encodeURIComponent(data.keys[at])}.png`;
  }

  function step(to) {
    if (!place.has(shown)) return;
    const at = found[Math.min(Math.max(to(place.get(shown)), 0), found.length - 1)];
    if (at === shown) return;
    replace(address(asked, data.keys[at]));
    show(at);
  }

  const STEPS = {
    ArrowLeft: (order) => order - 1, ArrowRight: (order) => order + 1, ArrowUp: (order) => order - 1,
    ArrowDown: (order) => order + 1, Home: () => 0, End: () => found.length - 1,
  };
  const MODES = { o: "outline", f: "fill", x: "off" };

  view.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (STEPS[event.key] && !event.target.matches("input")) {
      event.preventDefault();
      step(STEPS[event.key]);
    } else if (MODES[event.key]) overlay(MODES[event.key]);
  });
  $("view-previous").addEventListener("click", () => step(STEPS.ArrowLeft));
  $("view-next").addEventListener("click", () => step(STEPS.ArrowRight));
  $("view-close").addEventListener("click", () => view.close());
  view.addEventListener("close", () => {
    if (view.open) return; // opened again before this event came
    const last = shown;
    shown = -1;
    if (new URLSearchParams(location.hash.slice(1)).has("pair")) {
      if (entered) history.back();
      else replace(address(asked));
    }
    entered = false;
    if (place.has(last)) {
      draw(place.get(last) + 1);
      grid.children[place.get(last)].firstChild.focus();
    }
  });

  /* Overlays, the same in the gallery and in the large view */
  function overlay(mode) {
    root.dataset.overlay = mode;
    for (const button of document.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
  }

  for (const button of document.querySelectorAll("[data-mode]")) {
    button.addEventListener("click", () => overlay(button.dataset.mode));
  }
  for (const range of document.querySelectorAll("[data-opacity]")) {
    range.addEventListener("input", () => {
      root.style.setProperty("--overlay", String(range.value / 100));
      for (const other of document.querySelectorAll("[data-opacity]")) other.value = range.value;
    });
  }

  history.scrollRestoration = "manual"; // closing the large view leads to its last pair, not to where it was opened
  prepare();
  route(true);

  /* The navigation says which section is being read */
  function markSection() {
    const links = new Map([...document.querySelectorAll("nav.bar a")].map((link) => [link.hash.slice(1), link]));
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const link = links.get(entry.target.id);
        if (entry.isIntersecting) {
          link.setAttribute("aria-current", "true");
          link.closest("ul").scrollLeft = link.offsetLeft - 40;
        } else link.removeAttribute("aria-current");
      }
    }, { rootMargin: "-25% 0px -74% 0px" });
    for (const id of links.keys()) if ($(id)) watch.observe($(id));
  }
})();
