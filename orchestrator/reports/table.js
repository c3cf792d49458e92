// The table of VMs: searched, filtered, sorted; only the rows in sight are in the page.
const ROW = 37, PRINTED = 3000; // a row's height in pixels; how many rows are put on paper
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
