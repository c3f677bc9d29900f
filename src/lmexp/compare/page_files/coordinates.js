
// Parallel coordinates of what was swept, and bars of what it weighs.
const isNumber = (value) => value !== null && typeof value !== "boolean" && value !== "" && Number.isFinite(Number(value));

function keyAxis(key, top, bottom) {
  const values = GROUPS.map((group) => group.choices[key] ?? null);
  if (values.every(isNumber)) {
    const numbers = values.map(Number);
    const [low, high] = [least(numbers), greatest(numbers)];
    const isLog = low > 0 && high / low >= 20;
    const at = scale(low, high, bottom, top, isLog);
    const distinct = [...new Set(numbers)];
    const marks = distinct.length <= 8 ? distinct : [low, ...at.ticks, high];
    return { key, at: (choice) => at(Number(choice)), marks: marks.map((value) => [at(value), number(+value.toPrecision(3))]) };
  }
  const words = [...new Set(values.map(String))].sort((one, other) => compared(one, other));
  const gap = words.length > 1 ? (bottom - top) / (words.length - 1) : 0;
  const at = (choice) => (gap ? bottom - words.indexOf(String(choice)) * gap : (top + bottom) / 2);
  return { key, at: (choice) => at(choice ?? null), marks: words.map((word) => [at(word), word]) };
}

function drawCoordinates() {
  const place = byId("coordinates");
  const width = Math.max(place.clientWidth, 420);
  const [top, bottom, left, right] = [40, HEIGHT - 18, 120, width - 90];
  const axes = DATA.keys.map((key) => keyAxis(key, top, bottom));
  const figures = GROUPS.flatMap((group) => group.figures);
  const [low, high] = [least(figures), greatest(figures)];
  const atFigure = scale(low, high, bottom, top, false);
  const own = [...new Set([low, ...atFigure.ticks, high])];
  axes.push({ key: RESULT.figure, marks: own.map((value) => [atFigure(value), number(+value.toPrecision(4))]) });
  const across = (column) => left + (column * (right - left)) / (axes.length - 1);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `Swept keys and ${RESULT.figure}` });
  for (const group of GROUPS) {
    const beside = ofData(group.baseline).flatMap((other) => other.figures);
    const ends = [least(beside), greatest(beside)];
    for (const [seed, figure] of group.figures.entries()) {
      const points = axes.slice(0, -1).map((axis, column) => [across(column), axis.at(group.choices[axis.key])]);
      svg.append(thread(group, seed, figure, [...points, [across(axes.length - 1), atFigure(figure)]], ...ends));
    }
  }
  for (const [column, axis] of axes.entries()) drawAxis(svg, axis, across(column), column, axes.length, top, bottom, (right - left) / (axes.length - 1));
  place.replaceChildren(svg);
}

function thread(group, seed, figure, points, low, high) {
  const part = (figure - low) / (high - low || 1);
  const good = Math.round(100 * (RESULT.greater_is_better ? part : 1 - part));
  const line = draw("path", { class: "thread", d: path(points) });
  line.style.stroke = `color-mix(in oklab, var(--best) ${good}%, var(--worst))`;
  const lines = [group.name, `seed ${group.seeds[seed]}: ${RESULT.figure} ${number(figure)}`];
  line.addEventListener("pointermove", (event) => showTip(event, lines));
  line.addEventListener("pointerleave", hideTip);
  return line;
}

function drawAxis(svg, axis, x, column, count, top, bottom, room) {
  svg.append(draw("line", { class: "axis", x1: x, x2: x, y1: top, y2: bottom }));
  const longest = Math.max(8, Math.floor(room / 7));
  const title = axis.key.length > longest ? `…${axis.key.slice(1 - longest)}` : axis.key;
  const anchor = column === 0 ? "start" : column === count - 1 ? "end" : "middle";
  const start = column === 0 ? 4 : column === count - 1 ? x + 86 : x;
  svg.append(draw("text", { x: start, y: top - 18, "text-anchor": anchor }, draw("title", {}, axis.key), title));
  let last = Infinity;
  for (const [y, text] of [...axis.marks].sort((one, other) => other[0] - one[0])) {
    if (last - y < 13) continue;
    last = y;
    svg.append(draw("line", { class: "axis", x1: x - 3, x2: x + 3, y1: y, y2: y }));
    const side = column === 0 ? -8 : 8;
    svg.append(draw("text", { class: "halo", x: x + side, y: y + 4, "text-anchor": column === 0 ? "end" : "start" }, text.length > 14 ? `${text.slice(0, 13)}…` : text));
  }
}

function drawBars(place, part) {
  const width = Math.max(Math.min(place.clientWidth, 900), 420);
  const [row, left] = [26, Math.min(260, width * 0.4)];
  const height = part.shares.length * row + 6;
  const x = scale(0, 1, left, width - 150, false);
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": part.of });
  svg.style.maxWidth = `${width}px`;
  for (const [place_, [key, share, chance]] of part.shares.entries()) {
    const y = place_ * row + 4;
    const longest = Math.floor(left / 7.2);
    const title = key.length > longest ? `…${key.slice(1 - longest)}` : key;
    svg.append(draw("text", { x: left - 8, y: y + 14, "text-anchor": "end" }, draw("title", {}, key), title));
    svg.append(draw("rect", { class: "bar", x: left, y, width: Math.max(1, x(share) - left), height: row - 8, rx: 2 }));
    if (chance !== null) svg.append(draw("line", { class: "chance", x1: x(chance), x2: x(chance), y1: y - 2, y2: y + row - 6 }));
    const beside = chance === null ? "" : ` (chance ${(100 * chance).toFixed(0)}%)`;
    svg.append(draw("text", { x: Math.max(x(share), chance === null ? 0 : x(chance)) + 8, y: y + 14 }, `${(100 * share).toFixed(1)}%${beside}`));
  }
  place.append(svg);
}
