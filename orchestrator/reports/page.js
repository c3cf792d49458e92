"use strict";
// The report's timeline and its table of VMs. All words come from the data as text, none of them as HTML.
const page = (() => {
  const ROW = 37, LANE = 9, GAP = 7, LABEL = 170, HEAD = 22, PRINTED = 3000;
  const NONE = "(none)", FLYING = "in_flight";
  const COLORS = {
    stopped_clean: "clean", started: "clean", stopped_forced: "forced", stopped_cold: "cold", already_stopped: "already",
    already_running: "already", migrated: "moved", came_back: "back", failed: "failed", unknown: "unknown", [FLYING]: "flying",
  };
  const RANKS = { bad: 0, warn: 1 };
  const DEEDS = { done: "host", already: "host", failed: "failed", not_empty: "failed", came_back: "failed", unknown: "unknown" };
  const AFTERWARDS = { disable: "host disabled", empty: "host empty", maintain: "host in maintenance", enable: "host enabled" };
  let data = null, begun = 0, numbered = new Set(), vms = [], byUuid = new Map();

  function unpacked(row, fields) {
    const made = {};
    fields.forEach((field, index) => {
      const value = row[index] ?? null;
      made[field] = value !== null && numbered.has(field) ? data.words[value] : value;
    });
    return made;
  }

  function taken(row) { // one VM's row: new, or instead of what was known of it
    const vm = unpacked(row, data.fields), known = byUuid.get(vm.uuid);
    vm.attempts = (vm.attempts || []).map((attempt) => unpacked(attempt, data.attempt_fields));
    vm.outcome ??= NONE;
    vm.place = known?.place ?? byUuid.size;
    byUuid.set(vm.uuid, vm);
    return vm;
  }

  function arranged() { // what needs somebody comes first, else the plan's order
    vms = [...byUuid.values()];
    vms.sort((one, other) => urgency(one) - urgency(other) || one.place - other.place);
  }

  function urgency(vm) {
    if (vm.outcome === NONE) return data.to === null ? 2 : 0;
    return RANKS[data.outcomes[vm.outcome]?.tone] ?? 2;
  }

  const find = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const { compare: compared } = new Intl.Collator(undefined, { numeric: true });
  const spoken = (word) => (word === NONE ? "no outcome" : word.replaceAll("_", " "));
  const shownName = (vm) => vm.name || vm.uuid;
  const secondsText = (value) => (value === null ? "" : value >= 600 ? `${(value / 60).toFixed(1)} min` : `${value.toFixed(1)} s`);

  function made(tag, text, kind) {
    const element = document.createElement(tag);
    if (text !== undefined && text !== null) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  }

  function tagged(outcome) {
    return made("span", spoken(outcome), `tag ${data.outcomes[outcome]?.tone ?? ""}`);
  }

  function moment(seconds, whole) {
    if (seconds === null) return "";
    const text = new Date(begun + seconds * 1000).toISOString();
    return whole ? `${text.slice(0, 10)} ${text.slice(11, 19)}Z` : `${text.slice(11, 19)}Z`;
  }

  // ---- the table -------------------------------------------------------------------------------------------------

  const table = find("#vms"), chosen = { outcome: "", host: "", wave: "", cause: "" };
  let wanted = "", order = null, backwards = false, found = [], current = 0, columns = [];

  const columnsOf = () => [
    { title: "VM", key: shownName, width: "24%", cell: (vm) => made("td", shownName(vm)) },
    { title: "Outcome", key: (vm) => spoken(vm.outcome), width: "150px", cell: outcomeCell },
    { title: "Host", key: (vm) => vm.host, width: "150px", cell: (vm) => made("td", vm.host) },
    ...(data.waves.length ? [{ title: "Wave", key: (vm) => vm.wave, width: "110px", cell: (vm) => made("td", vm.wave) }] : []),
    { title: "State", key: (vm) => vm.state, width: "110px", cell: (vm) => made("td", vm.state ?? "not read") },
    { title: "From", key: (vm) => vm.from, width: "100px", number: true, cell: (vm) => made("td", moment(vm.from), "number") },
    { title: "Took", key: (vm) => vm.seconds, width: "95px", number: true, cell: (vm) => made("td", secondsText(vm.seconds), "number") },
    { title: "Why", key: why, cell: (vm) => made("td", why(vm)) },
  ];

  function outcomeCell(vm) {
    const cell = made("td");
    cell.append(tagged(vm.outcome));
    return cell;
  }

  function why(vm) {
    if (vm.error) return [vm.cause, vm.error].filter(Boolean).join(": ");
    return vm.reason || vm.evidence || vm.cause || "";
  }

  function haystack(vm) {
    vm.text ??= [vm.name, vm.uuid, vm.host, vm.migrated_to, vm.cause, vm.error, vm.reason].filter(Boolean).join("\n").toLowerCase();
    return vm.text;
  }

  function select(stay = false) {
    const parts = wanted.toLowerCase().split(/\s+/).filter(Boolean);
    const filters = Object.entries(chosen).filter(([, value]) => value);
    found = vms.filter((vm) =>
      filters.every(([name, value]) => (vm[name] ?? "") === value) &&
      (!parts.length || parts.every((part) => haystack(vm).includes(part))));
    if (order) {
      const keys = new Map(found.map((vm) => [vm, order.key(vm)])), sign = backwards ? -1 : 1;
      found.sort((one, other) => {
        const a = keys.get(one) ?? null, b = keys.get(other) ?? null;
        if (a === null || b === null) return (a === null) - (b === null); // what is not known comes last, either way
        return sign * (order.number ? a - b : compared(a, b));
      });
    }
    current = Math.min(current, Math.max(0, found.length - 1));
    const rest = data.targets - vms.length;
    const total = rest > 0 ? `${vms.length} listed, ${data.targets} targets` : `${vms.length}`;
    find(".count", table).textContent = found.length === vms.length ? total : `${found.length} of ${total}`;
    if (!stay) find(".rows", table).scrollTop = 0;
    paintRows();
  }

  function paintRows(everything = false) {
    const scroller = find(".rows", table), body = find("tbody", table);
    const first = everything ? 0 : Math.max(0, Math.floor(scroller.scrollTop / ROW) - 10);
    const last = everything ? Math.min(found.length, PRINTED) : Math.min(found.length, first + Math.ceil(640 / ROW) + 20);
    const held = body.contains(document.activeElement) || document.activeElement === scroller;
    const rows = found.slice(first, last).map((vm, index) => rowOf(vm, first + index));
    body.replaceChildren(gap(first * ROW), ...rows, gap(everything ? 0 : (found.length - last) * ROW));
    if (everything && last < found.length) {
      const note = body.insertRow(), cell = note.insertCell();
      cell.colSpan = columns.length;
      cell.textContent = `and ${found.length - last} more, in report.csv and report.json`;
    }
    if (!found.length) {
      const note = body.insertRow(), cell = note.insertCell();
      cell.colSpan = columns.length;
      const counted = data.rest.reduce((sum, part) => sum + (part.outcomes[chosen.outcome] ?? 0), 0);
      cell.textContent = counted
        ? `${counted} VMs have this outcome and no row of their own here: report.csv and report.json have them.`
        : "No VM is both searched for and shown by these filters.";
    }
    if (!find('tr[tabindex="0"]', body)) find("tr[data-index]", body)?.setAttribute("tabindex", "0");
    if (held) (find(`tr[data-index="${current}"]`, body) ?? scroller).focus({ preventScroll: true });
  }

  function gap(height) {
    const row = made("tr", null, "gap"), cell = made("td");
    cell.colSpan = columns.length;
    cell.style.height = `${height}px`;
    row.append(cell);
    row.hidden = height <= 0;
    row.setAttribute("aria-hidden", "true");
    return row;
  }

  function rowOf(vm, index) {
    const row = made("tr");
    row.dataset.index = index;
    row.tabIndex = index === current ? 0 : -1;
    row.setAttribute("aria-rowindex", index + 2);
    row.append(...columns.map((column) => {
      const cell = column.cell(vm);
      cell.title = cell.textContent;
      return cell;
    }));
    return row;
  }

  function goTo(index) {
    const scroller = find(".rows", table);
    current = Math.max(0, Math.min(found.length - 1, index));
    const top = current * ROW, height = scroller.clientHeight - ROW - 4;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top + ROW > scroller.scrollTop + height) scroller.scrollTop = top + ROW - height;
    paintRows();
    find(`tr[data-index="${current}"]`, table)?.focus({ preventScroll: true });
  }

  function options() {
    for (const box of all("select[data-filter]", table)) {
      const name = box.dataset.filter, counts = new Map(), ordered = name === "host" || name === "wave";
      for (const vm of vms) if (vm[name]) counts.set(vm[name], (counts.get(vm[name]) ?? 0) + 1);
      if (chosen[name] && !counts.has(chosen[name])) counts.set(chosen[name], 0);
      const sorted = [...counts].sort(([one, a], [other, b]) => (ordered ? compared(one, other) : b - a));
      const entries = sorted.map(([value, count]) => {
        const option = made("option", `${name === "outcome" ? spoken(value) : value} (${count})`);
        option.value = value;
        return option;
      });
      box.replaceChildren(box.options[0], ...entries);
      box.value = chosen[name];
      box.hidden = counts.size < 2 && name !== "outcome" && !chosen[name];
    }
  }

  function only(name, value) {
    clear();
    chosen[name] = value;
    options();
    select();
    table.scrollIntoView({ behavior: "smooth" });
    find('input[type="search"]', table).focus({ preventScroll: true });
  }

  function clear() {
    wanted = find('input[type="search"]', table).value = "";
    for (const box of all("select[data-filter]", table)) chosen[box.dataset.filter] = box.value = "";
  }

  function headTable() {
    const head = find("thead tr", table);
    columns = columnsOf();
    order = null;
    head.replaceChildren(...columns.map((column) => {
      const cell = made("th", null, column.number ? "number" : ""), button = made("button", column.title);
      button.type = "button";
      cell.scope = "col";
      if (column.width) cell.style.width = column.width;
      button.addEventListener("click", () => {
        backwards = order === column && !backwards;
        order = column;
        for (const other of head.cells) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", backwards ? "descending" : "ascending");
        select();
      });
      cell.append(button);
      return cell;
    }));
  }

  function showTable(stay) {
    table.hidden = !data.targets;
    find("table", table).setAttribute("aria-rowcount", vms.length + 1);
    const left = Math.max(0, data.targets - vms.length);
    const over = data.to === null ? "wait for their turn or are" : "are";
    const others = left === 1 ? `The other VM ${data.to === null ? "waits for its turn or is" : "is"}` : `The other ${left} VMs ${over}`;
    find(".more", table).textContent = left ? `${others} simply ${data.done}; report.csv and report.json have them.` : "";
    options();
    select(stay);
  }

  function startTable() {
    const scroller = find(".rows", table), body = find("tbody", table);
    find('input[type="search"]', table).addEventListener("input", (event) => { wanted = event.target.value; select(); });
    find(".clear", table).addEventListener("click", () => { clear(); select(); });
    for (const box of all("select[data-filter]", table)) {
      box.addEventListener("change", () => { chosen[box.dataset.filter] = box.value; select(); });
    }
    let waiting = false;
    scroller.addEventListener("scroll", () => {
      if (!waiting) requestAnimationFrame(() => { waiting = false; paintRows(); });
      waiting = true;
    });
    body.addEventListener("click", (event) => {
      const row = event.target.closest("tr[data-index]");
      if (row) { current = Number(row.dataset.index); open(found[current]); }
    });
    scroller.tabIndex = -1;
    scroller.addEventListener("keydown", (event) => {
      if (event.target.closest("thead")) return;
      const page = Math.floor(scroller.clientHeight / ROW) - 2;
      const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -found.length, End: found.length };
      if (event.key in steps) goTo(current + steps[event.key]);
      else if (event.key === "Enter" || event.key === " ") open(found[current]);
      else return;
      event.preventDefault();
    });
    find("#top").addEventListener("click", (event) => {
      const button = event.target.closest(".show");
      if (button) only(...Object.entries(button.dataset)[0]);
    });
  }

  // ---- one VM ----------------------------------------------------------------------------------------------------

  const dialog = find("#vm");

  function framed(name) { // the dialog anew, with a title and a way out
    const close = made("button", "Close", "close"), title = made("h2", name);
    close.type = "button";
    close.addEventListener("click", () => dialog.close());
    title.id = "vm-name";
    dialog.replaceChildren(close, title);
  }

  function listed(facts) {
    const list = made("dl");
    for (const [name, value] of facts) if (value) list.append(made("dt", name), made("dd", value));
    return list;
  }

  function blamed(one) {
    const chain = made("p");
    if (one.cause) chain.append(made("code", one.cause));
    return [made("h3", "Error"), chain, made("p", one.error)];
  }

  const earlier = (count) => (count ? [made("p", `${count} earlier ones are in report.json.`, "more")] : []);

  function open(vm) {
    const lead = made("p");
    framed(shownName(vm));
    const flight = "It has had its turn, and has no outcome yet.", none = "Nothing is claimed about it.";
    const text = vm.outcome === FLYING ? flight : data.outcomes[vm.outcome]?.text ?? none;
    lead.append(tagged(vm.outcome), ` ${text}`);
    const facts = [
      ["UUID", vm.uuid], ["Reason", vm.reason], ["Host", vm.host], ["Migrated to", vm.migrated_to], ["Wave", vm.wave], ["Kind", vm.type], ["HA", vm.ha],
      ["State", `${vm.before ?? "not read"} \u2192 ${vm.state ?? "not read"}`],
      ["From", moment(vm.from, true)], ["To", moment(vm.to, true)], ["Took", secondsText(vm.seconds)],
      ["Evidence", vm.evidence && [vm.evidence, measured(vm)].filter(Boolean).join(" ")],
      ["Read again", vm.verified === null ? data.to !== null && "not after the run" : moment(vm.verified, true)],
      ["Late", vm.late && "it changed only after the run had given up on it"],
      ["Check", vm.check && "look at it once it runs again: its power was or may have been cut"],
    ];
    dialog.append(lead, listed(facts));
    if (vm.error) dialog.append(...blamed(vm));
    dialog.append(made("h3", vm.attempts.length || vm.left_out ? "Steps" : vm.outcome === FLYING ? "Under way" : "Nothing was sent to it"));
    dialog.append(...earlier(vm.left_out));
    if (vm.attempts.length) dialog.append(steps(vm));
    dialog.showModal();
  }

  function openHost(host) { // what was done to it, one thing after the other
    framed(host.name);
    dialog.append(listed([["UUID", host.uuid]]));
    for (const deed of host.actions) {
      const title = made("h3");
      title.append(made("span", deedText(deed), `tag ${deed.tone}`));
      dialog.append(title, listed([
        ["Meaning", deed.text], ["Evidence", deed.evidence],
        ["State", `${deed.before || "not read"} \u2192 ${deed.state || "not read"}`],
        ["From", moment(deed.from, true)], ["To", moment(deed.to, true)],
      ]));
      if (deed.error || deed.cause) dialog.append(...blamed(deed));
      dialog.append(...earlier(deed.left_out));
      if (deed.attempts.length) dialog.append(steps(deed));
    }
    const button = made("button", "Show its VMs", "lead");
    button.type = "button";
    button.addEventListener("click", () => { dialog.close(); only("host", host.name); });
    dialog.append(button);
    dialog.showModal();
  }

  const deedText = (deed) => `${deed.action}: ${deed.outcome === null ? "under way" : spoken(deed.outcome)}`;

  function measured(vm) {
    return vm.evidence_seconds === null ? "" : `(${secondsText(vm.evidence_seconds)}, by the ${vm.basis})`;
  }

  function steps(vm) {
    const table = made("table"), head = table.createTHead().insertRow(), body = table.createTBody();
    for (const title of ["Sent", "What", "Why", "Ended", "Result", "Job", "Error"]) head.append(made("th", title));
    for (const attempt of vm.attempts) {
      const row = body.insertRow(), error = [attempt.cause, attempt.error].filter(Boolean).join(": ");
      const to = attempt.host ? ` to ${attempt.host}` : "";
      const limit = attempt.timeout === null ? "" : `, at most ${attempt.timeout} s`;
      const texts = [moment(attempt.sent), `${attempt.type}${to}${limit}`, attempt.reason, moment(attempt.ended),
        spoken(attempt.result), attempt.job, error];
      texts.forEach((text, index) => {
        const cell = made("td");
        cell.append(index === 5 ? made("small", text, "id") : text ?? "");
        cell.className = { 0: "time", 2: "time", 3: "time", 4: "time" }[index] ?? "";
        row.append(cell);
      });
    }
    return table;
  }

  // ---- the timeline ----------------------------------------------------------------------------------------------

  const timeline = find("#timeline"), chart = find(".chart", timeline), sheet = find(".sheet", timeline);
  const canvas = find("canvas", timeline), brush = canvas.getContext("2d");
  let hosts = [], height = 0, left = 0, right = 1, zoom = 1, palette = {};

  function layOut() {
    const byHost = new Map();
    for (const vm of vms) {
      if (vm.from === null) continue;
      const name = vm.host ?? "no host";
      if (!byHost.has(name)) byHost.set(name, []);
      byHost.get(name).push(vm);
    }
    const rest = new Map(data.rest.filter((part) => part.from !== null).map((part) => [part.host, part]));
    const acted = new Map(data.hosts.map((host) => [host.name, { host, marks: marksOf(host) }]).filter(([, one]) => one.marks.length));
    const names = [...new Set([...byHost.keys(), ...rest.keys(), ...acted.keys()])].sort(compared);
    height = HEAD;
    hosts = names.map((name) => {
      const spans = (byHost.get(name) ?? []).sort((one, other) => one.from - other.from), ends = [];
      const { marks = [], host: itself = null } = acted.get(name) ?? {}, strip = marks.length ? 1 : 0; // above its VMs
      const laid = spans.map((vm) => {
        const until = Math.max(vm.to ?? data.to ?? data.now ?? vm.from, vm.from);
        let lane = ends.findIndex((end) => end <= vm.from);
        if (lane < 0) lane = ends.push(0) - 1;
        ends[lane] = until;
        return { vm, lane: lane + strip, from: vm.from, to: until };
      });
      const other = rest.get(name) ?? null, own = ends.length + strip, lanes = Math.max(1, own + (other ? 1 : 0));
      const host = { name, laid, other, top: height, lanes, own, marks, itself };
      height += Math.max(lanes * LANE, 12) + GAP;
      return host;
    });
    const moments = [0, data.to, data.now ?? null];
    for (const host of hosts) {
      for (const span of host.laid) moments.push(span.from, span.to);
      if (host.other) moments.push(host.other.from, host.other.to);
      for (const mark of host.marks) moments.push(mark.from, mark.at);
    }
    const known = moments.filter((value) => value !== null);
    left = known.reduce((a, b) => Math.min(a, b), 0);
    right = known.reduce((a, b) => Math.max(a, b), 1);
    const room = right - left; // the window's edges where they are near; far ones would leave no room for the run
    for (const edge of [data.window?.from, data.window?.to]) {
      if (edge !== undefined && edge !== null && edge > left - room && edge < right + room) {
        left = Math.min(left, edge - room * 0.01);
        right = Math.max(right, edge + room * 0.01);
      }
    }
  }

  function marksOf(host) { // what was done to it by time; what it has entered lasts to the end
    return host.actions.filter((deed) => deed.from !== null || deed.to !== null).map((deed) => {
      const from = deed.from ?? deed.to, at = deed.to ?? data.to ?? data.now ?? from;
      const lasts = deed.action === "maintain" && AFTERWARDS[deed.action] === afterwards(deed);
      return { deed, from: Math.min(from, at), at: Math.max(from, at), lasts };
    });
  }

  function afterwards(deed) { // what the legend says of it
    if (DEEDS[deed.outcome] === "host") return AFTERWARDS[deed.action] ?? deed.action;
    return deed.outcome === null ? "host: under way" : `host: ${spoken(deed.outcome)}`;
  }

  const deedColor = (deed) => (deed.outcome === null ? "flying" : DEEDS[deed.outcome] ?? "none");
  const lastOf = (mark) => (mark.lasts ? data.to ?? data.now ?? right : mark.at);

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

  function at(event) {
    const box = canvas.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top + chart.scrollTop;
    if (event.clientY - box.top < HEAD) return [null, null, null];
    const host = hosts.find((one) => y >= one.top && y < one.top + Math.max(one.lanes * LANE, 12) + GAP) ?? null;
    if (!host || x < LABEL) return [host, null, null];
    const lane = Math.floor((y - host.top) / LANE);
    if (lane === 0 && host.marks.length) return [host, null, nearest(host.marks, x)];
    return [host, host.laid.find((span) => span.lane === lane && x >= xOf(span.from) - 2 && x <= xOf(span.to) + 2) ?? null, null];
  }

  function nearest(marks, x) { // a diamond before the bar beneath it
    const near = marks.filter((mark) => x >= xOf(mark.from) - 5 && x <= xOf(lastOf(mark)) + 5);
    const off = (mark) => (Math.abs(x - xOf(mark.at)) <= 5 ? Math.abs(x - xOf(mark.at)) : 6);
    return near.sort((one, other) => off(one) - off(other))[0] ?? null;
  }

  function tip(event) {
    const [host, span, mark] = at(event);
    let text = "\u00a0";
    if (span) {
      const vm = span.vm;
      text = `${shownName(vm)} on ${host.name}: ${spoken(vm.outcome)}, ${moment(vm.from)} to ${moment(vm.to) || "now"}`;
    } else if (mark) {
      const { deed } = mark, when = deed.to === null ? `since ${moment(mark.from)}` : moment(deed.to);
      text = `${host.name}: ${deedText(deed)}, ${when}${deed.evidence ? `: ${deed.evidence}` : ""}`;
    } else if (host) {
      text = host.other ? `${host.name}: also ${restText(host.other)}` : `${host.name}: ${host.laid.length} VMs`;
    }
    find(".tip", timeline).textContent = text;
    canvas.style.cursor = host ? "pointer" : "default";
  }

  function restText(part) {
    return Object.entries(part.outcomes).map(([word, count]) => `${count} ${spoken(word)}`).join(", ");
  }

  function zoomTo(size) {
    const middle = chart.scrollLeft + (chart.clientWidth - LABEL) / 2, before = inner();
    zoom = Math.max(1, Math.min(400, size));
    draw();
    chart.scrollLeft = middle * (inner() / before) - (chart.clientWidth - LABEL) / 2;
    draw();
  }

  function showTimeline() {
    layOut();
    timeline.hidden = !hosts.length;
    if (!hosts.length) return;
    find("h2 small", timeline).textContent = `${hosts.length} host${hosts.length === 1 ? "" : "s"} by time (UTC), coloured by outcome`;
    colors();
    const seen = new Set(vms.filter((vm) => vm.from !== null).map((vm) => vm.outcome));
    for (const part of data.rest) for (const word of Object.keys(part.outcomes)) seen.add(word);
    const words = [...Object.keys(data.outcomes), FLYING, NONE].filter((one) => seen.has(one)), marks = new Map();
    for (const mark of hosts.flatMap((host) => host.marks)) marks.set(afterwards(mark.deed), mark);
    const entries = words.map((word) => legend(spoken(word), COLORS[word] ?? "none", ""));
    for (const [text, mark] of marks) entries.push(legend(text, deedColor(mark.deed), mark.lasts || mark.deed.outcome === null ? "" : "mark"));
    find(".legend", timeline).replaceChildren(...entries);
    chart.style.height = `${Math.min(height + 2, 520)}px`;
    draw();
  }

  function legend(text, color, kind) {
    const entry = made("span"), swatch = made("i", null, kind);
    swatch.style.background = `var(--o-${color})`;
    entry.append(swatch, text);
    return entry;
  }

  function startTimeline() {
    let waiting = false;
    const soon = () => {
      if (!waiting) requestAnimationFrame(() => { waiting = false; if (hosts.length) draw(); });
      waiting = true;
    };
    chart.addEventListener("scroll", soon);
    new ResizeObserver(soon).observe(chart);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { colors(); soon(); });
    canvas.addEventListener("mousemove", tip);
    canvas.addEventListener("click", (event) => {
      const [host, span, mark] = at(event);
      if (span) open(span.vm);
      else if (mark) openHost(host.itself);
      else if (host) only("host", host.name);
    });
    chart.addEventListener("wheel", (event) => {
      if (event.ctrlKey) { event.preventDefault(); zoomTo(zoom * (event.deltaY < 0 ? 1.25 : 0.8)); }
    }, { passive: false });
    chart.addEventListener("keydown", (event) => {
      if (event.key === "+" || event.key === "=") zoomTo(zoom * 1.5);
      else if (event.key === "-") zoomTo(zoom / 1.5);
      else if (event.key === "0") zoomTo(1);
    });
    for (const button of all("[data-zoom]", timeline)) {
      button.addEventListener("click", () => zoomTo({ in: zoom * 1.5, out: zoom / 1.5, all: 1 }[button.dataset.zoom]));
    }
  }

  // ---- the checklist, and paper ----------------------------------------------------------------------------------

  function showChecklist() {
    const section = find("#check"), list = find("ul.check"), ticked = new Set(all("input:checked", list).map((box) => box.value));
    const marked = vms.filter((vm) => vm.check);
    section.hidden = !marked.length;
    find("h2 span", section).textContent = data.action === "stop" ? "Check after start" : "Check now that they run";
    const count = marked.length === 1 ? "1 VM" : `${marked.length} VMs`;
    find("h2 small", section).textContent = `${count} whose power was or may have been cut`;
    list.replaceChildren(...marked.map((vm) => {
      const item = made("li"), label = made("label"), box = made("input");
      box.type = "checkbox";
      box.value = vm.uuid;
      box.checked = ticked.has(vm.uuid);
      label.append(box, shownName(vm), made("small", `${vm.host}, ${spoken(vm.outcome)}`));
      item.append(label);
      return item;
    }));
  }

  // ---- from outside ----------------------------------------------------------------------------------------------

  function begin(whole) { // everything, anew
    data = whole;
    begun = Date.parse(data.start);
    numbered = new Set(data.numbered);
    byUuid = new Map();
    for (const row of data.rows) taken(row);
    arranged();
    headTable();
    show(false);
  }

  function update(change) { // what has changed since: rows, the words they number, who is in flight, the run itself
    data.words.push(...change.words);
    Object.assign(data, change.about, { now: change.now });
    for (const vm of byUuid.values()) {
      if (vm.outcome !== FLYING) continue;
      vm.outcome = NONE;
      if (vm.passing) byUuid.delete(vm.uuid); // one of many that has no row of its own
    }
    for (const row of change.rows) taken(row);
    for (const [uuid, name, host, wave, from] of change.flying) {
      let vm = byUuid.get(uuid);
      if (!vm) {
        vm = taken([uuid]);
        vm.passing = true;
      }
      if (vm.outcome === NONE) Object.assign(vm, { outcome: FLYING, name, host, wave, from, text: undefined });
    }
    arranged();
    show(true);
  }

  function show(stay) {
    for (const words of all(".plain")) words.hidden = true;
    showTable(stay);
    showTimeline();
    showChecklist();
  }

  startTable();
  startTimeline();
  addEventListener("beforeprint", () => {
    for (const folded of all("details:not(.deed)")) folded.open = true; // what went wrong with a host stands beside its fold
    if (data) paintRows(true);
    if (hosts.length) { chart.style.height = `${Math.min(height + 2, 4000)}px`; palette = { ...PAPER }; draw(true); }
  });
  addEventListener("afterprint", () => {
    if (data) paintRows();
    if (hosts.length) { chart.style.height = `${Math.min(height + 2, 520)}px`; colors(); draw(); }
  });
  return { begin, update };
})();

if (document.getElementById("data")) page.begin(JSON.parse(document.getElementById("data").textContent));
