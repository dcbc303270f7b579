"use strict";
(() => {
  // Names, labels and errors come from elsewhere: they are put in as text (textContent), never as markup.
  const tables = JSON.parse(document.getElementById("tables").textContent);
  const $ = (id) => document.getElementById(id);
  const KINDS = [
    ["all", "All"], ["charging", "Charging"], ["connected", "Vehicle connected"], ["idle", "No vehicle"],
    ["problem", "Problem"], ["unavailable", "Unavailable"], ["other", "Other"], ["waiting", "No answer yet"],
  ];
  const SELDOM = new Set(["other", "waiting"]);
  const SORTS = new Set(["name", "attention", "power", "age"]);
  const PAGE = 100, SILENCE = 8000, HOUR = 60;

  // What is known

  const stations = new Map();
  const open = new Set();
  let bridge = null, offset = 0, limit = PAGE;
  const choice = { state: "all", sort: "name", q: "" };

  const now = () => Date.now() + offset;

  // Words

  const number = (value) => Math.round(value).toLocaleString("en");
  function watts(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size < 999.5) return `${Math.round(value)} W`;
    return `${size < 99950 ? (value / 1000).toFixed(1) : number(value / 1000)} kW`;
  }
  const amps = (value) => (value === null ? "–" : `${+value.toFixed(1)} A`);
  function age(ms) {
    const s = Math.round(ms / 1000);
    if (s < -2) return `${age(-ms)} ahead`;
    if (s < 100) return `${Math.max(0, s)} s`;
    const m = Math.floor(s / 60);
    if (m < 100) return `${m} min`;
    const h = Math.floor(m / 60);
    if (h < 48) return m % 60 ? `${h} h ${m % 60} min` : `${h} h`;
    return `${Math.floor(h / 24)} d`;
  }
  const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
  const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const SECOND = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  function clock(ms, format = TIME) {
    const day = DAY.format(ms);
    return day === DAY.format(now()) ? format.format(ms) : `${day}, ${TIME.format(ms)}`;
  }
  const many = (count, one) => `${number(count)} ${count === 1 ? one : `${one}s`}`;
  const plain = (word) => word.replaceAll("_", " ");
  const reason = (word) => (word === null ? tables.waiting : tables.reasons[word] || plain(word));

  function unavailable({ since, reason: word }) {
    const at = Date.parse(since);
    return `Unavailable${since === null ? "" : ` since ${clock(at)} (${age(now() - at)})`}: ${reason(word)}`;
  }

  function kindOf(plug) {
    if (plug.reason === null) return "waiting";
    if (plug.reason !== "online") return "unavailable";
    const told = tables.statuses[plug.status] || {};
    if (told.problem) return "problem";
    if (told.charging) return "charging";
    if (told.vehicle_connected) return "connected";
    return told.vehicle_connected === false ? "idle" : "other";
  }
  function stationKind(data) {
    return data.reason === null ? "waiting" : data.reason === "online" ? "online" : "unavailable";
  }

  // Nodes

  function make(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }
  function draw(tag, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }
  function icon(kind) {
    const node = draw("svg", { class: "icon", "aria-hidden": "true" });
    node.append(draw("use", { href: `#i-${kind}` }));
    return node;
  }
  // Texts and attributes are compared with what was put in before, which costs less than to ask the document.
  const before = Symbol("before"), marks = Symbol("marks");
  function put(node, text) {
    if (node[before] !== text) node.textContent = node[before] = text;
  }
  function mark(node, name, value) {
    const known = (node[marks] ||= {});
    if (known[name] !== value) {
      known[name] = value;
      if (value === null) node.removeAttribute(name);
      else node.setAttribute(name, value);
    }
  }
  function hide(node, hidden) {
    if (node.hidden !== hidden) node.hidden = hidden;
  }
  function badge(kind, className = "state") {
    const use = icon(kind), word = make("span");
    const node = make("span", { className }, use, word);
    return { node, show(kind, text) {
      mark(use.firstChild, "href", `#i-${kind}`);
      mark(node, "data-kind", kind);
      put(word, text);
    } };
  }
  // A time that goes on counting; `words` makes its text from the time and its age.
  function counting(node, words) {
    let at = null;
    return { node, at(text) {
      const ms = text === null ? null : Date.parse(text);
      if (ms !== at) {
        at = ms;
        mark(node, "datetime", text);
        mark(node, "title", text);
      }
      this.count();
    }, count() { put(node, at === null ? "–" : words(at, age(now() - at))); } };
  }

  // The power of the last hour: steps of [minute, power], a gap where the power is null

  function spark() {
    const area = draw("path", { class: "area" }), steps = draw("path", { class: "steps" });
    const floor = draw("path", { class: "floor" });
    const node = draw("svg", { class: "line", viewBox: "0 0 120 30", preserveAspectRatio: "none", role: "img" });
    const title = draw("title", {});
    node.append(title, floor, area, steps);
    return { node, show(history, power) {
      const end = now() / 60000, begin = end - HOUR;
      const runs = [];
      let run = null, high = -Infinity, low = 0;
      history.forEach(([minute, value], index) => {
        const from = Math.max(minute, begin), to = Math.min(history[index + 1]?.[0] ?? end, end);
        if (to < begin || value === null) { run = null; return; }
        if (!run) runs.push((run = []));
        run.push([from, to, value]);
        high = Math.max(high, value);
        low = Math.min(low, value);
      });
      const top = Math.max(high, low + 1);
      const x = (minute) => ((minute - begin) * 120 / HOUR).toFixed(1);
      const y = (value) => (28 - (value - low) / (top - low) * 26).toFixed(1);
      const line = (parts) => parts.map(([, to, value], i) => (i ? `V${y(value)}` : "") + `H${x(to)}`).join("");
      mark(floor, "d", `M0 ${y(0)}H120`);
      mark(steps, "d", runs.map((parts) => `M${x(parts[0][0])} ${y(parts[0][2])}${line(parts)}`).join(""));
      mark(area, "d", runs.map((parts) =>
        `M${x(parts[0][0])} ${y(0)}V${y(parts[0][2])}${line(parts)}V${y(0)}Z`).join(""));
      const words = runs.length ? `now ${power === null ? "not known" : watts(power)}, highest ${watts(high)}` : "not known";
      mark(node, "aria-label", `power over the last hour: ${words}`);
      put(title, `Power over the last hour: ${words}`);
    } };
  }
  // What the bridge keeps: for each minute in which the power changed, the last value.
  function remember(history, power) {
    const minute = Math.floor(now() / 60000), last = history.at(-1);
    if (last && last[1] === power) return;
    if (last && last[0] >= minute) last[1] = power;
    else history.push([minute, power]);
    while (history.length > 1 && history[1][0] <= minute - HOUR) history.shift();
  }
  const live = (plug) => (plug.reason === "online" ? plug.power : null);

  // Topics, each with a button that copies it

  async function copy(button, text) {
    let done = false;
    try {
      if (window.isSecureContext && navigator.clipboard) {
        await navigator.clipboard.writeText(text);
        done = true;
      }
    } catch { /* refused: try the other way */ }
    if (!done) {  // over plain HTTP there is no clipboard to write to; what is selected can be copied
      const field = make("textarea", { value: text, className: "heard", "aria-hidden": "true", readOnly: true });
      document.body.append(field);
      field.select();
      try { done = document.execCommand("copy"); } catch { /* told below */ }
      field.remove();
      button.focus();
    }
    button.textContent = done ? "Copied" : "Failed";
    put($("told"), done ? `copied ${text}` : "could not be copied: select the text instead");
    setTimeout(() => { button.textContent = "Copy"; put($("told"), ""); }, 2000);
  }
  function copyable(text, words) {
    const button = make("button", { type: "button", textContent: "Copy", "aria-label": `Copy ${text}` });
    button.addEventListener("click", () => copy(button, text));
    return make("li", {}, make("div", {}, make("code", { textContent: text }), make("span", { textContent: words })), button);
  }
  // A button, and a list that it opens; the list is made when it is first seen.
  function disclosure(id, title) {
    const panel = make("ul", { className: "topics", id: `t-${id}`, hidden: true });
    const button = make("button", { type: "button", className: "act", textContent: "Topics", "aria-controls": panel.id });
    let rows = () => [], key = "";
    function show() {
      const opened = open.has(id);
      mark(button, "aria-expanded", String(opened));
      hide(panel, !opened);
      if (opened && panel[before] !== key) {
        panel.replaceChildren(...rows().map(([text, words]) => copyable(text, words)));
        panel[before] = key;
      }
    }
    button.addEventListener("click", () => {
      if (!open.delete(id)) open.add(id);
      show();
    });
    return { button, panel, update(name, newKey, newRows) {
      mark(button, "aria-label", `Topics of ${name}`);
      mark(panel, "aria-label", `${title} ${name}`);
      [key, rows] = [newKey, newRows];
      show();
    } };
  }
  const rowsOf = (topic, uuid, fields) => [
    [`${topic}/#`, "all of them"],
    ...fields.map(([name, unit, words]) => [`${topic}/${name}`, unit ? `${unit}, ${words}` : words]),
    [uuid, "the uuid"],
  ];

  // A plug

  function plugRow(id) {
    const name = make("h4"), state = badge("waiting"), why = make("p", { className: "why", hidden: true });
    const line = spark();
    const value = (className, label) => {
      const shown = make("dd");
      return [make("div", { className }, make("dt", { textContent: label }), shown), shown];
    };
    const [powerBox, power] = value("power", "Power");
    const phases = ["L1", "L2", "L3"].map((label) => value(label.toLowerCase(), label));
    const [limitBox, most] = value("limit", "Limit");
    const [ageBox, ageCell] = value("age", "Measured");
    const measured = counting(make("time"), (at, passed) => `${passed} ago`.replace("ahead ago", "ahead"));
    ageCell.append(measured.node);
    const topics = disclosure(id, "Topics of");
    const values = make("dl", { className: "values" }, powerBox, ...phases.map(([box]) => box), limitBox, ageBox);
    const node = make("li", { className: "plug" },
      make("div", { className: "who" }, name, state.node), line.node, values, topics.button, why, topics.panel);
    let plug = null, whyText = "";
    const row = { node, update(data, station, history) {
      plug = data;
      row.history = history;
      const kind = kindOf(data);
      put(name, data.name);
      state.show(kind, kind === "unavailable" || kind === "waiting" ? KINDS.find(([key]) => key === kind)[1].toLowerCase()
        : data.status === null ? "no status" : plain(data.status));
      mark(state.node, "title", data.status === null ? null : `status: ${data.status}`);
      put(power, watts(data.power));
      mark(power, "title", data.power === null ? null : `${data.power} W`);
      phases.forEach(([, shown], index) => put(shown, amps(data[`current_l${index + 1}`])));
      put(most, amps(data.dyn_current_limit));
      measured.at(data.time);
      const own = data.reason !== "online" && data.reason !== null && data.reason !== station.reason;
      const told = (tables.statuses[data.status] || {}).description;
      whyText = own ? reason(data.reason) : kind === "problem" ? `Problem: ${told}` : "";
      mark(why, "data-mark", own ? null : "warn");
      mark(node, "class", kind === "unavailable" ? "plug old" : "plug");
      topics.update(`${station.name}, ${data.name}`, data.topic, () => rowsOf(data.topic, data.uuid, tables.plug));
      row.redraw();
      row.count();
    }, redraw() { line.show(row.history, live(plug)); }, count() {
      measured.count();
      hide(why, !whyText);
      if (whyText) {
        put(why, plug.reason === "online" ? whyText : unavailable(plug));
      }
    } };
    return row;
  }

  // A station

  function stationCard(uuid) {
    const name = make("h3"), state = badge("waiting"), more = make("span", { className: "more" });
    const why = make("p", { className: "said", "data-mark": "bad", hidden: true });
    const error = make("p", { className: "said", hidden: true });
    const note = make("p", { className: "said", "data-mark": "warn", hidden: true });
    const topics = disclosure(`s-${uuid}`, "Topics of station");
    const list = make("ul"), none = make("p", { className: "none", hidden: true, textContent: "No plug was seen yet." });
    const node = make("li", { className: "station" },
      make("header", {}, make("div", { className: "title" }, name, state.node), more, topics.button, why, error, note), topics.panel, list, none);
    const rows = new Map();
    let data = null;
    const card = { node, rows, update(known) {
      data = known.data;
      put(name, data.name);
      const kind = stationKind(data);
      state.show(kind, { online: "online", waiting: tables.waiting, unavailable: "unavailable" }[kind]);
      const gone = new Set(rows.keys());
      data.plugs.forEach((plug, index) => {
        let row = rows.get(plug.uuid);
        if (!row) rows.set(plug.uuid, (row = plugRow(`p-${uuid}-${plug.uuid}`)));
        gone.delete(plug.uuid);
        if (list.children[index] !== row.node) list.insertBefore(row.node, list.children[index] || null);
        row.update(plug, data, known.steps.get(plug.uuid));
      });
      for (const plug of gone) {
        rows.get(plug).node.remove();
        rows.delete(plug);
      }
      hide(none, rows.size > 0);
      topics.update(data.name, data.topic, () => rowsOf(data.topic, data.uuid, tables.station));
      hide(note, !data.note);
      put(note, data.note ? `Unusual in the last answer: ${data.note}` : "");
      card.count();
    }, redraw() { for (const row of rows.values()) row.redraw(); }, count() {
      const kind = stationKind(data);
      const asked = data.polled === null ? "not asked yet" : `asked ${age(now() - Date.parse(data.polled))} ago`;
      put(more, `${asked}, every ${age(data.interval * 1000)}`);
      hide(why, kind !== "unavailable");
      if (kind === "unavailable") put(why, unavailable(data));
      hide(error, !data.error);
      if (data.error) {
        const at = Date.parse(data.error_at), failed = data.misses ? `${many(data.misses, "poll")} in a row failed. ` : "";
        mark(error, "data-mark", kind === "unavailable" ? "bad" : data.misses ? "warn" : null);
        put(error, `${failed}Last error ${clock(at, SECOND)} (${age(now() - at)} ago): ${data.error}`);
      }
      for (const row of rows.values()) row.count();
    } };
    return card;
  }

  // What comes

  function take(data, whole) {
    let known = stations.get(data.uuid);
    if (!known) stations.set(data.uuid, (known = { uuid: data.uuid, steps: new Map(), card: null }));
    known.data = data;
    for (const plug of data.plugs) {
      if (whole) known.steps.set(plug.uuid, plug.steps);
      if (!known.steps.has(plug.uuid)) known.steps.set(plug.uuid, []);
      if (!whole && plug.reason !== null) remember(known.steps.get(plug.uuid), live(plug));
      plug.steps = null;
      plug.kind = kindOf(plug);
      plug.hay = `${plug.name}\n${plug.uuid}\n${plug.topic}`.toLowerCase();
    }
    known.hay = `${data.name}\n${data.uuid}\n${data.topic}`.toLowerCase();
    known.card?.update(known);
  }
  function apply(picture, whole) {
    if (bridge && picture.bridge.version !== bridge.version) {
      location.reload();  // another version of the bridge has another page
      return;
    }
    offset = Date.parse(picture.at) - Date.now();
    bridge = picture.bridge;
    if (whole) {
      const there = new Set(picture.stations.map((each) => each.uuid));
      for (const uuid of stations.keys()) if (!there.has(uuid)) stations.delete(uuid);
    }
    for (const each of picture.stations) take(each, whole);
    showParts(picture);
    if (whole || picture.stations.length) {
      showSums();
      showList(false);
    }
  }

  // What is shown

  const MARKS = { good: "online", warn: "problem", bad: "unavailable", none: "waiting" };
  function part(id, how, words, more) {
    const box = $(id).querySelector(".mark");
    mark(box, "data-mark", how);
    mark(box.querySelector("use"), "href", `#i-${MARKS[how]}`);
    put(box.querySelector("b"), words);
    put($(id).querySelector(".more"), more);
  }
  let parts = null;
  function showParts(picture) {
    parts = picture;
    const { health, broker } = picture;
    const started = Date.parse(bridge.started), since = Date.parse(broker.since);
    part("bridge", health.healthy ? "good" : "bad", health.healthy ? "working" : "stuck", `for ${age(now() - started)}, since ${clock(started)}`);
    part("broker", broker.connected ? "good" : "bad", broker.connected ? "connected" : "not connected",
      `${broker.address}, since ${clock(since)} (${age(now() - since)})`);
    const shown = [...stations.values()], online = shown.filter(({ data }) => data.reason === "online").length;
    const told = shown.filter(({ data }) => data.reason !== null).length;
    part("cloud", !told ? "none" : online === told ? "good" : online ? "warn" : "bad", !told ? "has not answered yet" : online === told ? "answers" : online
      ? `answers for ${online} of ${told}` : "does not answer usefully", bridge.cloud);
    put($("client"), bridge.client_id === "evse-mqtt-bridge" ? "" : bridge.client_id);
    put($("about"), `Version ${bridge.version}, topics under ${bridge.base_topic}/`);
    const words = health.words.join("\n"), list = $("words");
    hide(list, !words);
    if (list[before] !== words) {
      list[before] = words;
      list.replaceChildren(...health.words.map((textContent) => make("li", { textContent })));
    }
  }
  const counts = Object.fromEntries(KINDS.map(([kind]) => [kind, 0]));
  function showSums() {
    let power = null;
    for (const kind in counts) counts[kind] = 0;
    for (const { data } of stations.values()) {
      for (const plug of data.plugs) {
        counts.all += 1;
        counts[plug.kind] += 1;
        if (live(plug) !== null) power = (power || 0) + plug.power;
      }
      if (!data.plugs.length) {  // a station whose plugs are not known counts as one
        counts.all += 1;
        counts[data.reason === null ? "waiting" : "unavailable"] += 1;
      }
    }
    put($("sum-power"), watts(power));
    const of = (node, count) => {
      if (node[before] !== `${count}/${counts.all}`) {
        node[before] = `${count}/${counts.all}`;
        node.replaceChildren(number(count), " ", make("small", { textContent: `of ${number(counts.all)}` }));
      }
    };
    of($("sum-charging"), counts.charging);
    of($("sum-unavailable"), counts.unavailable);
    mark($("sum-unavailable"), "class", counts.unavailable ? "alarm" : null);
    put($("sum-stations"), number(stations.size));
    for (const [kind] of KINDS) {
      const { label, count } = chips[kind];
      put(count, number(counts[kind]));
      hide(label, SELDOM.has(kind) && !counts[kind] && choice.state !== kind);
    }
    const title = counts.unavailable ? `${counts.unavailable} unavailable · evse-mqtt-bridge` : "evse-mqtt-bridge";
    if (document.title !== title) document.title = title;
  }

  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" }).compare;
  const byName = (a, b) => order(a.data.name, b.data.name) || order(a.uuid, b.uuid);
  const WEIGHT = { unavailable: 0, problem: 1, waiting: 2 };
  const weight = ({ data }) => Math.min(
    data.reason !== "online" ? (data.reason === null ? 2 : -1) : 9, data.misses ? 3 : 9,
    ...data.plugs.map((plug) => WEIGHT[plug.kind] ?? 9));
  const sum = ({ data }) => data.plugs.reduce((total, plug) => total + (live(plug) ?? 0), 0);
  const oldest = ({ data }) => Math.min(Infinity, ...data.plugs.map((plug) => (plug.time ? Date.parse(plug.time) : Infinity)));
  const KEYS = { attention: weight, power: (each) => -sum(each), age: oldest };

  // The plugs of a station that are to be seen; null: not even the station
  function seen(known, words) {
    const { data } = known;
    const rest = words.filter((word) => !known.hay.includes(word));
    let plugs = data.plugs.filter((plug) => rest.every((word) => plug.hay.includes(word)));
    if (rest.length && !plugs.length) return null;
    if (choice.state !== "all") {
      plugs = plugs.filter((plug) => plug.kind === choice.state);
      const empty = !data.plugs.length && choice.state === (data.reason === null ? "waiting" : "unavailable");
      if (!plugs.length && !empty) return null;
    }
    return plugs;
  }
  const list = $("list");
  function showList(asked) {
    const words = choice.q.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    let plugs = 0;
    for (const known of stations.values()) {
      known.seen = seen(known, words);
      if (known.seen) {
        found.push(known);
        plugs += known.seen.length;
      }
    }
    const key = KEYS[choice.sort];
    if (key) for (const known of found) known.key = key(known);
    // Nothing is moved under a finger or a focus: while one is in the list, what is shown keeps its place.
    const still = !asked && key && (list.matches(":hover") || list.contains(document.activeElement));
    found.sort(still ? (a, b) => (a.place ?? Infinity) - (b.place ?? Infinity) || 0
      : key ? (a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : byName(a, b)) : byName);
    const shown = found.slice(0, limit);
    const kept = new Set(shown);
    for (const known of stations.values()) known.place = undefined;
    for (const [node, known] of cards) {
      if (!kept.has(known) || stations.get(known.uuid) !== known) {
        node.remove();
        cards.delete(node);
        known.card = null;
      }
    }
    let at = list.firstChild;
    shown.forEach((known, index) => {
      known.place = index;
      if (!known.card) {
        known.card = stationCard(known.uuid);
        known.card.update(known);
        cards.set(known.card.node, known);
      }
      const { node, rows } = known.card;
      if (node === at) at = at.nextSibling;
      else list.insertBefore(node, at);
      for (const plug of known.data.plugs) hide(rows.get(plug.uuid).node, !known.seen.includes(plug));
    });
    const total = stations.size, narrowed = choice.q || choice.state !== "all";
    const count = many(found.length, "station");
    put($("found"), !total ? "No stations." : narrowed
      ? found.length ? `${count} with ${many(plugs, "plug")} found of ${number(total)}${found.length > limit ? `, the first ${limit} shown` : ""}.`
        : `Nothing found among ${many(total, "station")}.`
      : total > limit ? `The first ${limit} of ${many(total, "station")}.` : `${many(total, "station")} with ${many(plugs, "plug")}.`);
    hide($("further"), found.length <= limit);
    put($("some"), `Show ${Math.min(PAGE, found.length - limit)} more`);
    put($("all"), `Show all ${number(found.length)}`);
  }
  const cards = new Map();

  // What is chosen; it stands in the address, so that it can be kept as a bookmark

  const chips = {};
  const row = make("div", { className: "chips" });
  for (const [kind, words] of KINDS) {
    const input = make("input", { type: "radio", name: "state", value: kind });
    const count = make("b", { textContent: "0" });
    const label = make("label", { className: "chip" }, input, ...(kind === "all" ? [] : [icon(kind)]), make("span", { textContent: words }), count);
    chips[kind] = { label, input, count };
    row.append(label);
  }
  $("states").append(row);

  function readAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    choice.state = Object.hasOwn(chips, asked.get("state")) ? asked.get("state") : "all";
    choice.sort = SORTS.has(asked.get("sort")) ? asked.get("sort") : "name";
    choice.q = asked.get("q") || "";
    chips[choice.state].input.checked = true;
    $("sort").value = choice.sort;
    if ($("search").value !== choice.q) $("search").value = choice.q;
    limit = PAGE;
  }
  function writeAddress() {
    const told = new URLSearchParams();
    if (choice.state !== "all") told.set("state", choice.state);
    if (choice.sort !== "name") told.set("sort", choice.sort);
    if (choice.q) told.set("q", choice.q);
    const text = told.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }
  function chosen() {
    limit = PAGE;
    writeAddress();
    showSums();
    showList(true);
  }
  row.addEventListener("change", (event) => { choice.state = event.target.value; chosen(); });
  $("sort").addEventListener("change", (event) => { choice.sort = event.target.value; chosen(); });
  $("search").addEventListener("input", (event) => { choice.q = event.target.value.trim(); chosen(); });
  $("some").addEventListener("click", () => { limit += PAGE; showList(true); });
  $("all").addEventListener("click", () => { limit = Infinity; showList(true); });
  $("skip").addEventListener("click", (event) => { event.preventDefault(); list.focus(); });
  addEventListener("hashchange", () => { readAddress(); showSums(); showList(true); });

  // The stream

  let stream = null, heard = 0, lostAt = null, why = "", retry = 0, paused = false, hiding = 0;
  function showLive() {
    const state = lostAt !== null || paused ? "no" : heard ? "yes" : "waiting";
    mark(document.body, "data-live", state);
    mark($("live"), "data-live", state);
    mark($("live").querySelector("use"), "href", { no: "#i-lost", yes: "#i-online", waiting: "#i-waiting" }[state]);
    put($("live-words"), paused ? "paused" : { no: "not live", yes: "live", waiting: "connecting …" }[state]);
    hide($("lost"), lostAt === null);
    if (lostAt !== null) {
      const shown = heard ? ` What is shown here is what it last told, ${age(Date.now() - heard)} ago.` : "";
      put($("lost"), `No connection to the bridge since ${clock(lostAt, SECOND)}.${shown}${why ? ` ${why}` : ""} Trying again …`);
    }
  }
  function lose() {
    if (lostAt === null) lostAt = now();
    showLive();
  }
  function hear(event, whole) {
    try {
      apply(JSON.parse(event.data), whole);
    } catch (error) {
      console.error(error);
      why = "What it tells cannot be shown.";
      lose();
      return;
    }
    heard = Date.now();
    lostAt = null;
    why = "";
    showLive();
  }
  function disconnect() {
    clearTimeout(retry);
    stream?.close();
    stream = null;
  }
  function connect() {
    disconnect();
    paused = false;
    const here = (stream = new EventSource("api/events"));
    here.addEventListener("picture", (event) => { if (here === stream) hear(event, true); });
    here.addEventListener("change", (event) => { if (here === stream) hear(event, false); });
    here.addEventListener("error", () => {
      if (here !== stream) return;
      lose();
      if (here.readyState === EventSource.CLOSED) {  // refused: the browser does not try again by itself
        ask();
        retry = setTimeout(connect, 5000);
      }
    });
    showLive();
  }
  async function ask() {
    const stop = new AbortController();
    try {
      const answer = await fetch("api/events", { signal: stop.signal });
      const isWords = (answer.headers.get("Content-Type") || "").startsWith("text/plain");  // else a proxy's page
      why = answer.ok ? "" : isWords ? (await answer.text()).trim().slice(0, 300) : `HTTP ${answer.status}`;
    } catch { why = ""; }
    stop.abort();
    showLive();
  }
  // A page that nobody looks at lets the bridge alone.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) {
      hiding = setTimeout(() => { disconnect(); paused = true; showLive(); }, 30000);
    } else if (paused) connect();
  });

  let minute = 0;
  setInterval(() => {
    if (document.hidden) return;
    if (stream && heard && lostAt === null && Date.now() - heard > SILENCE) {
      lose();
      connect();
    }
    showLive();
    if (parts) showParts(parts);
    const turned = Math.floor(now() / 60000) !== minute;
    minute = Math.floor(now() / 60000);
    for (const { card } of cards.values()) {
      card.count();
      if (turned) card.redraw();
    }
  }, 1000);

  readAddress();
  connect();
})();
