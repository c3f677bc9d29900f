
// Puts the page together.
const OPEN_REMARKS = 8; // others are folded away
const count = (number_, word) => `${number_} ${word}${number_ === 1 ? "" : "s"}`;

function showHeader() {
  const better = RESULT.greater_is_better ? "more is better" : "less is better";
  const against = BASELINES.length > 1 ? `${BASELINES.length} baselines, one of each data set` : RESULT.baseline;
  byId("title").textContent = `${RESULT.figure}: ${count(GROUPS.length, "group")} against ${against}`;
  const parts = [better, count(RESULT.runs.length, "run"), `tests at ${number(1 - RESULT.confidence)}`];
  if (DATA.keys.length) parts.push(`swept: ${DATA.keys.join(", ")}`);
  byId("about").textContent = parts.join(" · ");
  byId("command").textContent = DATA.command;
  byId("made").textContent = `${DATA.date} · lmexp ${DATA.version}`;
  byId("dagger").hidden = !GROUPS.some((group) => group.mismatches.length);
  showRemarks();
}

function showRemarks() {
  const items = RESULT.remarks.map((remark) => make("li", {}, remark));
  const more = items.length > OPEN_REMARKS + 2 ? items.splice(OPEN_REMARKS) : [];
  byId("remarks").append(...items);
  byId("remarks-part").hidden = !items.length;
  byId("more").hidden = !more.length;
  byId("more").querySelector("summary").textContent = `${more.length} more`;
  byId("more").querySelector("ul").append(...more);
}

function checkbox(text, change) {
  const box = make("input", { type: "checkbox" });
  box.addEventListener("change", () => change(box.checked));
  return make("label", {}, box, ` ${text}`);
}

function legendButton(group) {
  const button = make("button", { type: "button", "aria-pressed": "true" }, swatch(group.name), group.name);
  button.addEventListener("click", () => {
    const isShown = CURVES.hidden.delete(group.place);
    if (!isShown) CURVES.hidden.add(group.place);
    button.setAttribute("aria-pressed", String(isShown));
    drawCurves();
  });
  return button;
}

function setUpCurves() {
  byId("curves-part").hidden = false;
  byId("curves-controls").append(
    checkbox("steps on a logarithmic scale", (is) => { CURVES.isLogX = is; drawCurves(); }),
    checkbox("values on a logarithmic scale", (is) => { CURVES.isLogY = is; drawCurves(); }),
  );
  byId("curves-legend").append(...GROUPS.filter((group) => group.curve).map(legendButton));
  return drawCurves;
}

function setUpPareto() {
  byId("pareto-part").hidden = false;
  const options = COSTS.filter(([field]) => hasCost(field)).map(([field, title]) => make("option", { value: field }, title));
  const select = make("select", { id: "cost" }, ...options);
  select.addEventListener("change", () => drawPareto(select.value));
  byId("pareto-controls").append(make("label", {}, "against ", select));
  return () => drawPareto(select.value);
}

function setUpImportance() {
  byId("importance-part").hidden = false;
  return () => {
    byId("importance").replaceChildren();
    for (const part of DATA.importance) {
      const place = make("div", { class: "chart" });
      byId("importance").append(make("p", { class: "note" }, part.of), place);
      drawBars(place, part);
    }
  };
}

function show() {
  showHeader();
  for (const name of Object.keys(DATA.tables)) showTable(name);
  byId("filter").addEventListener("input", filterRuns);
  filterRuns();
  const drawings = [];
  if (GROUPS.some((group) => group.curve)) drawings.push(setUpCurves());
  if (COSTS.some(([field]) => hasCost(field))) drawings.push(setUpPareto());
  if (DATA.keys.length > 1) {
    byId("coordinates-part").hidden = false;
    drawings.push(drawCoordinates);
  }
  if (DATA.importance.length) drawings.push(setUpImportance());
  const drawAll = () => { for (const drawing of drawings) drawing(); };
  let width = document.documentElement.clientWidth;
  window.addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    drawAll();
  });
  drawAll();
}

show();
