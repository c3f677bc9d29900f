
"use strict";
// The page's data, elements, colours and tables. Text enters the page as textContent alone.
const DATA = JSON.parse(document.getElementById("data").textContent);
const RESULT = DATA.result;
const COLOURS = 10;
const LONG_NAME = 40; // characters of a group's, beyond which its column is wider
const GROUPS = RESULT.groups.map((group, place) => ({ ...group, place }));
const BASELINES = [...new Set(GROUPS.map((group) => group.baseline))]; // one of each data set
const ofData = (baseline) => GROUPS.filter((group) => group.baseline === baseline);
const PLACE = new Map(GROUPS.map((group) => [group.name, group.place]));
const byId = (name) => document.getElementById(name);

function filled(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}
const make = (tag, attributes = {}, ...children) =>
  filled(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const colour = (place) => `c${place % COLOURS}`;
// Groups beyond the ten colours are told apart by their dashes.
const dashes = (place) => ["none", "7 3", "2 3", "9 3 2 3"][Math.floor(place / COLOURS) % 4];
const swatch = (name) => make("span", { class: `swatch ${colour(PLACE.get(name))}`, "aria-hidden": "true" });

// Not Math.min(...values): so many arguments as a hundred curves have points are too many.
const least = (values) => values.reduce((low, value) => (value < low ? value : low), Infinity);
const greatest = (values) => values.reduce((high, value) => (value > high ? value : high), -Infinity);

function number(value) {
  const size = Math.abs(value);
  if (value === 0) return "0";
  for (const [unit, letter] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (size >= unit && size < 1e15) {
      const own = letter === "k" ? 1e3 : unit;
      return `${+(value / own).toPrecision(4)} ${letter}`;
    }
  }
  if (size >= 1e15 || size < 1e-4) return value.toExponential(2).replace(/\.?0+e/, "e");
  return String(+value.toPrecision(5));
}

function compared(left, right) {
  if (typeof left === "number" && typeof right === "number") return left - right;
  return String(left).localeCompare(String(right), "en", { numeric: true });
}

function sortRows(body, column, direction) {
  const rows = [...body.rows];
  rows.sort((one, other) => {
    const [left, right] = [one.values[column], other.values[column]];
    if (left === null || right === null) return (left === null) - (right === null);
    return direction * compared(left, right);
  });
  body.append(...rows);
}

function head(title, isWords, column, body, heads) {
  const button = make("button", { type: "button" }, title);
  const cell = make("th", { scope: "col", class: isWords ? "words" : "", "aria-sort": "none" }, button);
  heads.push(cell);
  button.addEventListener("click", () => {
    const rises = cell.getAttribute("aria-sort") !== "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    cell.setAttribute("aria-sort", rises ? "ascending" : "descending");
    sortRows(body, column, rises ? 1 : -1);
  });
  return cell;
}

// Long names break after = / and , rather than in the middle of a value.
const breakable = (text) => text.split(/(?<=[=/,])/).flatMap((part) => [part, make("wbr")]);

function bodyCell([text, , kind], isWords, isFirst) {
  const cell = isFirst ? make("th", { scope: "row" }) : make("td");
  if (kind) cell.classList.add(kind);
  if (isWords) cell.classList.add("words");
  if (["verdict", "status"].includes(kind) && /^[a-z]+$/.test(text)) cell.classList.add(text);
  if (kind === "group" && PLACE.has(text)) cell.append(swatch(text));
  cell.append(...(["group", "name"].includes(kind) ? breakable(text) : [text]));
  return cell;
}

function showTable(name) {
  const table = DATA.tables[name];
  if (!table) return;
  const body = make("tbody");
  const isWords = table.columns.map((_, column) =>
    table.rows.some((row) => typeof row[column][1] === "string"),
  );
  const heads = [];
  const titles = table.columns.map((title, column) => head(title, isWords[column], column, body, heads));
  for (const cells of table.rows) {
    const row = make("tr", {}, ...cells.map((cell, place) => bodyCell(cell, isWords[place], place === 0)));
    row.values = cells.map((cell) => cell[1]);
    body.append(row);
  }
  const place = byId(name);
  const isLong = table.rows.flat().some(([text, , kind]) => kind === "group" && text.length > LONG_NAME);
  const title = byId(`${name}-part`).querySelector("h2").textContent;
  filled(place, { tabindex: "0", role: "region", "aria-label": title }, [
    make("table", { class: isLong ? "wide" : "" }, make("thead", {}, make("tr", {}, ...titles)), body),
  ]);
  byId(`${name}-part`).hidden = false;
}

function filterRuns() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...byId("runs").querySelectorAll("tbody tr")];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
  }
  byId("filtered").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length}`;
}

function showTip(event, lines) {
  const tip = byId("tip");
  tip.replaceChildren(...lines.map((line) => make("p", {}, ...[line].flat())));
  tip.hidden = false;
  const right = document.documentElement.clientWidth - tip.offsetWidth - 8;
  tip.style.left = `${Math.max(8, Math.min(event.pageX + 16, right))}px`;
  tip.style.top = `${event.pageY + 16}px`;
}
const hideTip = () => { byId("tip").hidden = true; };
