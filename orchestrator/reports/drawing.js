// The timeline's drawing, on screen and on paper.
const inner = () => Math.max(200, chart.clientWidth - LABEL - 14) * zoom;
const xOf = (seconds) => LABEL + ((seconds - left) / (right - left)) * inner() - chart.scrollLeft;

const PAPER = {
  ink: "#000", soft: "#444", line: "#bbb", card: "#fff", focus: "#1f6feb", bad: "#b3261e", "o-clean": "#2f9e6a",
  "o-forced": "#e0a100", "o-cold": "#e2711d", "o-already": "#9fb8ab", "o-back": "#c2188f", "o-failed": "#d0342c",
  "o-unknown": "#7a4fd0", "o-none": "#98a2b0", "o-flying": "#4a90d9", "o-moved": "#12a0b5", "o-host": "#44546a",
};

function colors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["ink", "soft", "line", "card", "focus", "bad"]) palette[name] = style.getPropertyValue(`--${name}`);
  for (const name of new Set([...Object.values(COLORS), "none", "host"])) palette[`o-${name}`] = style.getPropertyValue(`--o-${name}`);
}

const colorOf = (outcome) => palette[`o-${COLORS[outcome] ?? "none"}`];

function draw(whole = false) {
  const width = chart.clientWidth, tall = whole ? Math.min(height, 4000) : chart.clientHeight, ratio = devicePixelRatio || 1;
  sheet.style.width = `${LABEL + inner() + 14}px`;
  sheet.style.height = `${height}px`;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(tall * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(tall * ratio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${tall}px`;
  }
  brush.setTransform(ratio, 0, 0, ratio, 0, 0);
  brush.fillStyle = palette.card;
  brush.fillRect(0, 0, width, tall);
  brush.font = "12px system-ui, sans-serif";
  brush.textBaseline = "middle";
  const ticks = marks(width, tall);
  const down = whole ? 0 : chart.scrollTop;
  for (const host of hosts) {
    const top = host.top - down, tallest = Math.max(host.lanes * LANE, 12);
    if (top + tallest < HEAD || top > tall) continue;
    brush.fillStyle = palette.line;
    brush.fillRect(0, top + tallest + GAP / 2, width, 0.5);
    for (const span of host.laid) bar(xOf(span.from), xOf(span.to), top + span.lane * LANE, colorOf(span.vm.outcome), 1);
    if (host.other) bar(xOf(host.other.from), xOf(host.other.to), top + host.own * LANE, colorOf(commonest(host.other)), 0.35);
    for (const mark of host.marks) done(mark, top);
  }
  brush.fillStyle = palette.card;
  brush.fillRect(0, 0, LABEL - 6, tall);
  brush.fillStyle = palette.ink;
  for (const host of hosts) {
    const top = host.top - down, tallest = Math.max(host.lanes * LANE, 12);
    if (top + tallest < HEAD || top > tall) continue;
    brush.fillText(fitted(host.name, LABEL - 20), 10, top + Math.min(tallest, 26) / 2);
  }
  heading(ticks, width);
}

function bar(from, to, top, color, alpha) {
  brush.globalAlpha = alpha;
  brush.fillStyle = color;
  brush.fillRect(from, top, Math.max(1.5, to - from - 0.5), LANE - 2);
  brush.globalAlpha = 1;
}

function done(mark, top) { // to the host: a faint bar while it took, then a full one where it lasts, else a diamond
  const color = palette[`o-${deedColor(mark.deed)}`], x = xOf(mark.at), half = (LANE - 1) / 2, middle = top + half - 0.5;
  if (xOf(mark.from) < x - 1) bar(xOf(mark.from), x, top, color, 0.35);
  if (mark.lasts) return bar(x, xOf(lastOf(mark)), top, color, 1);
  if (mark.deed.outcome === null) return;
  brush.fillStyle = color;
  brush.beginPath();
  for (const [right, down] of [[0, -half], [half, 0], [0, half], [-half, 0]]) brush.lineTo(x + right, middle + down);
  brush.fill();
}

function commonest(part) {
  return Object.entries(part.outcomes).sort(([, one], [, other]) => other - one)[0]?.[0];
}

function fitted(text, width) {
  if (brush.measureText(text).width <= width) return text;
  let kept = text;
  while (kept && brush.measureText(`${kept}\u2026`).width > width) kept = kept.slice(0, -1);
  return `${kept}\u2026`;
}

function marks(width, tall) {
  const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];
  const each = ((right - left) / inner()) * 110, step = steps.find((size) => size >= each) ?? 604800, ticks = [];
  const offset = (begun / 1000) % step;
  for (let at = Math.ceil((left + offset) / step) * step - offset; at <= right; at += step) {
    const x = xOf(at);
    if (x < LABEL || x > width) continue;
    ticks.push([x, at, step]);
    line(x, tall, palette.line, []);
  }
  for (const wave of data.waves) if (wave.from !== null) line(xOf(wave.from), tall, palette.focus, [2, 3]);
  for (const edge of [data.window?.from, data.window?.to]) {
    if (edge !== undefined && edge !== null) line(xOf(edge), tall, palette.bad, [6, 3]);
  }
  return ticks;
}

function line(x, tall, color, dashes) {
  if (x < LABEL - 6) return;
  brush.strokeStyle = color;
  brush.setLineDash(dashes);
  brush.beginPath();
  brush.moveTo(x, 0);
  brush.lineTo(x, tall);
  brush.stroke();
  brush.setLineDash([]);
}

function heading(ticks, width) {
  brush.fillStyle = palette.card;
  brush.fillRect(0, 0, width, HEAD - 2);
  const labels = data.waves.filter((wave) => wave.from !== null)
    .map((wave) => [xOf(wave.from), fitted(wave.name, 120), palette.focus]);
  if (data.window && data.window.from !== null) labels.push([xOf(data.window.from), "window opens", palette.bad]);
  if (data.window && data.window.to !== null) labels.push([xOf(data.window.to), "window ends", palette.bad]);
  let taken = labels.map(([x, text, color]) => {
    const long = brush.measureText(text).width, at = Math.min(x + 4, width - long - 6);
    return [at, at + long, text, color, x];
  }).filter(([, , , , x]) => x >= LABEL - 6 && x <= width + 1).sort((one, other) => one[0] - other[0]);
  taken = taken.filter((label, index) => !index || label[0] > taken[index - 1][1]);
  for (const [at, , text, color] of taken) {
    brush.fillStyle = color;
    brush.fillText(text, at, HEAD / 2);
  }
  brush.fillStyle = palette.soft;
  for (const [x, at, step] of ticks) {
    const text = step < 1 ? `${moment(at).slice(0, 8)}.${String(Math.round((((begun / 1000 + at) % 1) + 1) * 10) % 10)}` : moment(at);
    const long = brush.measureText(text).width;
    if (x + long > width || taken.some(([from, to]) => x < to + 8 && x + long > from - 8)) continue;
    brush.fillText(text, x + 4, HEAD / 2);
  }
}
