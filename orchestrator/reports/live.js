// The same page of a run that goes on: server-sent events, read with fetch, for only so a header can carry the token.
(() => {
  const token = location.hash.slice(1), status = document.getElementById("status"), now = document.getElementById("now");
  const SILENT = 45000; // milliseconds; something comes every fifteen seconds, so a connection that long silent is none
  let over = false;

  function say(text, tone) {
    status.textContent = text;
    status.className = tone ?? "";
  }

  function take(kind, text) {
    const message = JSON.parse(text);
    if (message.top !== undefined) replaceTop(message.top);
    if (message.title !== undefined) document.title = message.title;
    now.replaceChildren(...(message.lines ?? []).map((line) => Object.assign(document.createElement("p"), { textContent: line })));
    if (kind === "wait") return say("The run has not begun yet.");
    if (kind === "update") page.update(message);
    else page.begin(message.data);
    over = kind === "end";
    say(over ? "The run is over; this page changes no more." : `Live: as of ${new Date().toISOString().slice(11, 19)}Z.`, over ? "" : "good");
  }

  function replaceTop(html) { // escaped by the server; whoever is on one of its buttons stays there, and what is unfolded does
    const top = document.getElementById("top"), held = document.activeElement?.closest?.("#top .show");
    const names = held ? JSON.stringify(held.dataset) : null;
    const unfolded = new Set([...top.querySelectorAll("details[open][data-fold]")].map((one) => one.dataset.fold));
    top.innerHTML = html;
    for (const one of top.querySelectorAll("details[data-fold]")) one.open = unfolded.has(one.dataset.fold);
    if (names) [...top.querySelectorAll(".show")].find((one) => JSON.stringify(one.dataset) === names)?.focus({ preventScroll: true });
  }

  async function follow() {
    const giveUp = new AbortController();
    let watch = setTimeout(() => giveUp.abort(), SILENT);
    const heard = () => { clearTimeout(watch); watch = setTimeout(() => giveUp.abort(), SILENT); };
    const answer = await fetch("events", { headers: { Authorization: `Bearer ${token}` }, cache: "no-store", signal: giveUp.signal });
    if (answer.status === 401) {
      over = true;
      return say("This page has not the run's token: open the whole address that the run has printed.", "bad");
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      text += value;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const lines = text.slice(0, end).split("\n");
        text = text.slice(end + 2);
        const kind = lines.find((line) => line.startsWith("event: ")), body = lines.find((line) => line.startsWith("data: "));
        if (kind && body) take(kind.slice(7), body.slice(6));
      }
    }
  }

  (async () => {
    for (let wait = 500; !over; wait = Math.min(wait * 2, 10000)) {
      const began = Date.now();
      try {
        await follow();
      } catch {
        // said below
      }
      if (over) return;
      if (Date.now() - began > 5000) wait = 500;
      say("The run does not answer; what stands here may be old. Trying again.", "warn");
      await new Promise((done) => setTimeout(done, wait));
    }
  })();
  addEventListener("hashchange", () => location.reload());
})();
