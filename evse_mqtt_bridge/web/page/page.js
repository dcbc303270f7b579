"use strict";
(() => {
  // Names, labels and errors come from other systems. They are inserted as text (textContent), never as markup.
  const tables = JSON.parse(document.getElementById("tables").textContent);
  const $ = (id) => document.getElementById(id);
  const KINDS = [
    ["all", "All"], ["charging", "Charging"], ["connected", "Vehicle connected"], ["idle", "No vehicle"],
    ["problem", "Problem"], ["unavailable", "Unavailable"], ["other", "Other"], ["waiting", "No response yet"],
  ];
  const RARE_KINDS = new Set(["other", "waiting"]);  // shown only if there are any
  const SORT_ORDERS = new Set(["name", "attention", "power", "age"]);
  const PAGE_SIZE = 100;
  const STREAM_TIMEOUT = 8000;  // milliseconds without an event
  const PAUSE_AFTER = 30000;  // milliseconds in a hidden tab
  const HISTORY_MINUTES = 60;

  // State

  const stations = new Map();  // by UUID
  const openPanels = new Set();
  const cards = new Map();  // stations by the node of their card
  let bridge = null, clockOffset = 0, limit = PAGE_SIZE;
  const filter = { state: "all", sort: "name", q: "" };

  const now = () => Date.now() + clockOffset;  // by the clock of the bridge

  // Formatting

  const formatNumber = (value) => Math.round(value).toLocaleString("en");
  function formatPower(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size < 999.5) return `${Math.round(value)} W`;
    return `${size < 99950 ? (value / 1000).toFixed(1) : formatNumber(value / 1000)} kW`;
  }
  const formatCurrent = (value) => (value === null ? "–" : `${+value.toFixed(1)} A`);
  function formatAge(ms) {
    const seconds = Math.round(ms / 1000);
    if (seconds < -2) return `${formatAge(-ms)} ahead`;
    if (seconds < 100) return `${Math.max(0, seconds)} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 100) return `${minutes} min`;
    const hours = Math.floor(minutes / 60);
    if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
    return `${Math.floor(hours / 24)} d`;
  }
  const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
  const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
  const TIME_WITH_SECONDS = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
  function formatTime(ms, format = TIME) {
    const day = DAY.format(ms);
    return day === DAY.format(now()) ? format.format(ms) : `${day}, ${TIME.format(ms)}`;
  }
  const pluralize = (count, noun) => `${formatNumber(count)} ${count === 1 ? noun : `${noun}s`}`;
  const spaced = (identifier) => identifier.replaceAll("_", " ");
  const reasonText = (reason) => (reason === null ? tables.waiting : tables.reasons[reason] || spaced(reason));

  function unavailableText({ since, reason }) {
    const start = Date.parse(since);
    return `Unavailable${since === null ? "" : ` since ${formatTime(start)} (${formatAge(now() - start)})`}: ${reasonText(reason)}`;
  }

  function plugKind(plug) {
    if (plug.reason === null) return "waiting";
    if (plug.reason !== "online") return "unavailable";
    const meaning = tables.statuses[plug.status] || {};
    if (meaning.problem) return "problem";
    if (meaning.charging) return "charging";
    if (meaning.vehicle_connected) return "connected";
    return meaning.vehicle_connected === false ? "idle" : "other";
  }
  function stationKind(data) {
    return data.reason === null ? "waiting" : data.reason === "online" ? "online" : "unavailable";
  }

  // DOM helpers

  function createElement(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }
  function createSvg(tag, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }
  function createIcon(kind) {
    const node = createSvg("svg", { class: "icon", "aria-hidden": "true" });
    node.append(createSvg("use", { href: `#i-${kind}` }));
    return node;
  }
  // Texts and attributes are compared with the values set last, because reading them from the document costs more.
  const lastText = Symbol("last text"), lastAttributes = Symbol("last attributes");
  function setText(node, text) {
    if (node[lastText] !== text) node.textContent = node[lastText] = text;
  }
  function setAttribute(node, name, value) {
    const attributes = (node[lastAttributes] ||= {});
    if (attributes[name] !== value) {
      attributes[name] = value;
      if (value === null) node.removeAttribute(name);
      else node.setAttribute(name, value);
    }
  }
  function setHidden(node, hidden) {
    if (node.hidden !== hidden) node.hidden = hidden;
  }
  function createBadge(kind, className = "state") {
    const icon = createIcon(kind), label = createElement("span");
    const node = createElement("span", { className }, icon, label);
    return { node, update(kind, text) {
      setAttribute(icon.firstChild, "href", `#i-${kind}`);
      setAttribute(node, "data-kind", kind);
      setText(label, text);
    } };
  }
  // A <time> whose text shows its age; `format` returns the text for an age.
  function createAge(node, format) {
    let time = null;
    return { node, update(iso) {
      const ms = iso === null ? null : Date.parse(iso);
      if (ms !== time) {
        time = ms;
        setAttribute(node, "datetime", iso);
        setAttribute(node, "title", iso);
      }
      this.tick();
    }, tick() { setText(node, time === null ? "–" : format(formatAge(now() - time))); } };
  }

  // Power of the last hour: steps of [minute, power]; the line has a gap where the power is null

  function createSparkline() {
    const area = createSvg("path", { class: "area" }), curve = createSvg("path", { class: "curve" });
    const baseline = createSvg("path", { class: "baseline" });
    const node = createSvg("svg", { class: "sparkline", viewBox: "0 0 120 30", preserveAspectRatio: "none", role: "img" });
    const title = createSvg("title", {});
    node.append(title, baseline, area, curve);
    return { node, update(steps, power) {
      const end = now() / 60000, begin = end - HISTORY_MINUTES;
      const segments = [];
      let segment = null, high = -Infinity, low = 0;
      steps.forEach(([minute, value], index) => {
        const from = Math.max(minute, begin), to = Math.min(steps[index + 1]?.[0] ?? end, end);
        if (to < begin || value === null) { segment = null; return; }
        if (!segment) segments.push((segment = []));
        segment.push([from, to, value]);
        high = Math.max(high, value);
        low = Math.min(low, value);
      });
      const top = Math.max(high, low + 1);
      const x = (minute) => ((minute - begin) * 120 / HISTORY_MINUTES).toFixed(1);
      const y = (value) => (28 - (value - low) / (top - low) * 26).toFixed(1);
      const line = (parts) => parts.map(([, to, value], i) => (i ? `V${y(value)}` : "") + `H${x(to)}`).join("");
      setAttribute(baseline, "d", `M0 ${y(0)}H120`);
      setAttribute(curve, "d", segments.map((parts) => `M${x(parts[0][0])} ${y(parts[0][2])}${line(parts)}`).join(""));
      setAttribute(area, "d", segments.map((parts) =>
        `M${x(parts[0][0])} ${y(0)}V${y(parts[0][2])}${line(parts)}V${y(0)}Z`).join(""));
      const text = segments.length ? `now ${power === null ? "unknown" : formatPower(power)}, highest ${formatPower(high)}` : "unknown";
      setAttribute(node, "aria-label", `power over the last hour: ${text}`);
      setText(title, `Power over the last hour: ${text}`);
    } };
  }
  // Same rule as in the bridge: for each minute in which the power changed, the last value.
  function appendPower(steps, power) {
    const minute = Math.floor(now() / 60000), last = steps.at(-1);
    if (last && last[1] === power) return;
    if (last && last[0] >= minute) last[1] = power;
    else steps.push([minute, power]);
    while (steps.length > 1 && steps[1][0] <= minute - HISTORY_MINUTES) steps.shift();
  }
  const currentPower = (plug) => (plug.reason === "online" ? plug.power : null);

  // Topic lists with copy buttons

  async function copy(button, text) {
    let copied = false;
    try {
      if (window.isSecureContext && navigator.clipboard) {
        await navigator.clipboard.writeText(text);
        copied = true;
      }
    } catch { /* permission denied: use the fallback below */ }
    if (!copied) {  // over plain HTTP there is no clipboard API, but a selection can be copied
      const field = createElement("textarea", { value: text, className: "visually-hidden", "aria-hidden": "true", readOnly: true });
      document.body.append(field);
      field.select();
      try { copied = document.execCommand("copy"); } catch { /* reported below */ }
      field.remove();
      button.focus();
    }
    button.textContent = copied ? "Copied" : "Failed";
    setText($("copy-result"), copied ? `copied ${text}` : "Copying failed. Select the text instead.");
    setTimeout(() => { button.textContent = "Copy"; setText($("copy-result"), ""); }, 2000);
  }
  function createTopicItem(text, description) {
    const button = createElement("button", { type: "button", textContent: "Copy", "aria-label": `Copy ${text}` });
    button.addEventListener("click", () => copy(button, text));
    return createElement("li", {}, createElement("div", {}, createElement("code", { textContent: text }),
      createElement("span", { textContent: description })), button);
  }
  // A button that opens and closes a list. The list is created when it is opened for the first time.
  function createTopicPanel(id, title) {
    const list = createElement("ul", { className: "topics", id: `t-${id}`, hidden: true });
    const button = createElement("button", { type: "button", className: "toggle", textContent: "Topics", "aria-controls": list.id });
    let items = () => [], topic = "";
    function render() {
      const isOpen = openPanels.has(id);
      setAttribute(button, "aria-expanded", String(isOpen));
      setHidden(list, !isOpen);
      if (isOpen && list[lastText] !== topic) {
        list.replaceChildren(...items().map(([text, description]) => createTopicItem(text, description)));
        list[lastText] = topic;
      }
    }
    button.addEventListener("click", () => {
      if (!openPanels.delete(id)) openPanels.add(id);
      render();
    });
    return { button, list, update(name, newTopic, newItems) {
      setAttribute(button, "aria-label", `Topics of ${name}`);
      setAttribute(list, "aria-label", `${title} ${name}`);
      [topic, items] = [newTopic, newItems];
      render();
    } };
  }
  const topicItems = (topic, uuid, fields) => [
    [`${topic}/#`, "all topics"],
    ...fields.map(([name, unit, description]) => [`${topic}/${name}`, unit ? `${unit}, ${description}` : description]),
    [uuid, "UUID"],
  ];

  /*history*/
  // Plug

  function createPlugRow(station, uuid) {
    const id = `p-${station}-${uuid}`;
    const name = createElement("h4"), state = createBadge("waiting");
    const explanation = createElement("p", { className: "explanation", hidden: true });
    const sparkline = createSparkline();
    const createValue = (className, label) => {
      const value = createElement("dd");
      return [createElement("div", { className }, createElement("dt", { textContent: label }), value), value];
    };
    const [powerBox, power] = createValue("power", "Power");
    const phases = ["L1", "L2", "L3"].map((label) => createValue(label.toLowerCase(), label));
    const [limitBox, currentLimit] = createValue("limit", "Limit");
    const [ageBox, ageValue] = createValue("age", "Measured");
    const measured = createAge(createElement("time"), (age) => `${age} ago`.replace("ahead ago", "ahead"));
    ageValue.append(measured.node);
    const topics = createTopicPanel(id, "Topics of");
    const session = createElement("span", { className: "details" });
    const energy = createHistoryPanel(id, (name) => loadPlugHistory(station, uuid, name));
    const values = createElement("dl", { className: "values" }, powerBox, ...phases.map(([box]) => box), limitBox, ageBox);
    const node = createElement("li", { className: "plug" },
      createElement("div", { className: "heading" }, name, state.node, session), sparkline.node, values,
      createElement("div", { className: "toggles" }, topics.button, energy.button), explanation, topics.list, energy.node);
    let plug = null, reasonOrProblem = "";
    const row = { node, update(data, station, steps) {
      plug = data;
      row.steps = steps;
      const kind = plugKind(data);
      setText(name, data.name);
      state.update(kind, kind === "unavailable" || kind === "waiting" ? KINDS.find(([key]) => key === kind)[1].toLowerCase()
        : data.status === null ? "no status" : spaced(data.status));
      setAttribute(state.node, "title", data.status === null ? null : `status: ${data.status}`);
      setText(power, formatPower(data.power));
      setAttribute(power, "title", data.power === null ? null : `${data.power} W`);
      phases.forEach(([, value], index) => setText(value, formatCurrent(data[`current_l${index + 1}`])));
      setText(currentLimit, formatCurrent(data.dyn_current_limit));
      measured.update(data.time);
      const hasOwnReason = data.reason !== "online" && data.reason !== null && data.reason !== station.reason;
      const { description } = tables.statuses[data.status] || {};
      reasonOrProblem = hasOwnReason ? reasonText(data.reason) : kind === "problem" ? `Problem: ${description}` : "";
      setAttribute(explanation, "data-level", hasOwnReason ? null : "warning");
      setAttribute(node, "class", kind === "unavailable" ? "plug outdated" : "plug");
      setText(session, data.session_started ? `${formatEnergy(data.session_energy)} since ${formatStart(Date.parse(data.session_started))}` : "");
      setAttribute(session, "title", data.energy === null ? null : `energy counter: ${data.energy} kWh, unknown for ${formatAge(data.energy_gap * 1000)}`);
      topics.update(`${station.name}, ${data.name}`, data.topic, () => topicItems(data.topic, data.uuid, tables.plug));
      energy.update(`${station.name}, ${data.name}`);
      row.redraw();
      row.tick();
    }, close() { energy.close(); }, redraw() { sparkline.update(row.steps, currentPower(plug)); }, tick() {
      measured.tick();
      setHidden(explanation, !reasonOrProblem);
      if (reasonOrProblem) {
        setText(explanation, plug.reason === "online" ? reasonOrProblem : unavailableText(plug));
      }
    } };
    return row;
  }

  // Station

  function createStationCard(uuid) {
    const name = createElement("h3"), state = createBadge("waiting"), polled = createElement("span", { className: "details" });
    const explanation = createElement("p", { className: "message", "data-level": "error", hidden: true });
    const error = createElement("p", { className: "message", hidden: true });
    const note = createElement("p", { className: "message", "data-level": "warning", hidden: true });
    const topics = createTopicPanel(`s-${uuid}`, "Topics of station");
    const energy = createHistoryPanel(`s-${uuid}`, (stationName) => loadStationHistory(uuid, stationName));
    const list = createElement("ul");
    const placeholder = createElement("p", { className: "placeholder", hidden: true, textContent: "No plugs known yet." });
    const header = createElement("header", {}, createElement("div", { className: "title" }, name, state.node),
      polled, createElement("div", { className: "toggles" }, topics.button, energy.button), explanation, error, note);
    const node = createElement("li", { className: "station" }, header, topics.list, energy.node, list, placeholder);
    const rows = new Map();
    let data = null;
    const card = { node, rows, update(station) {
      data = station.data;
      setText(name, data.name);
      const kind = stationKind(data);
      state.update(kind, { online: "online", waiting: tables.waiting, unavailable: "unavailable" }[kind]);
      const removed = new Set(rows.keys());
      data.plugs.forEach((plug, index) => {
        let row = rows.get(plug.uuid);
        if (!row) rows.set(plug.uuid, (row = createPlugRow(uuid, plug.uuid)));
        removed.delete(plug.uuid);
        if (list.children[index] !== row.node) list.insertBefore(row.node, list.children[index] || null);
        row.update(plug, data, station.steps.get(plug.uuid));
      });
      for (const plug of removed) {
        rows.get(plug).close();
        rows.get(plug).node.remove();
        rows.delete(plug);
      }
      setHidden(placeholder, rows.size > 0);
      topics.update(data.name, data.topic, () => topicItems(data.topic, data.uuid, tables.station));
      energy.update(`station ${data.name}`);
      setHidden(note, !data.note);
      setText(note, data.note ? `Note on the last response: ${data.note}` : "");
      card.tick();
    }, redraw() { for (const row of rows.values()) row.redraw(); }, tick() {
      const kind = stationKind(data), failures = data.misses;
      const lastPoll = data.polled === null ? "not polled yet" : `polled ${formatAge(now() - Date.parse(data.polled))} ago`;
      const wait = data.next_poll === null ? 0 : Date.parse(data.next_poll) - now();
      const nextPoll = failures && wait > 0 ? `next in ${formatAge(wait)}` : `every ${formatAge(data.interval * 1000)}`;
      setText(polled, `${lastPoll}, ${nextPoll}`);
      setHidden(explanation, kind !== "unavailable");
      if (kind === "unavailable") setText(explanation, unavailableText(data));
      setHidden(error, !data.error);
      if (data.error) {
        const time = Date.parse(data.error_at), failed = failures ? `${pluralize(failures, "poll")} in a row failed. ` : "";
        setAttribute(error, "data-level", kind === "unavailable" ? "error" : failures ? "warning" : null);
        setText(error, `${failed}Last error ${formatTime(time, TIME_WITH_SECONDS)} (${formatAge(now() - time)} ago): ${data.error}`);
      }
      for (const row of rows.values()) row.tick();
    } };
    return card;
  }

  // Snapshots

  function updateStation(data, isFull) {
    let station = stations.get(data.uuid);
    if (!station) stations.set(data.uuid, (station = { uuid: data.uuid, steps: new Map(), card: null }));
    station.data = data;
    for (const plug of data.plugs) {
      if (isFull) station.steps.set(plug.uuid, plug.steps);
      if (!station.steps.has(plug.uuid)) station.steps.set(plug.uuid, []);
      if (!isFull && plug.reason !== null) appendPower(station.steps.get(plug.uuid), currentPower(plug));
      plug.steps = null;
      plug.kind = plugKind(plug);
      plug.searchText = `${plug.name}\n${plug.uuid}\n${plug.topic}`.toLowerCase();
    }
    station.searchText = `${data.name}\n${data.uuid}\n${data.topic}`.toLowerCase();
    station.card?.update(station);
  }
  function applySnapshot(snapshot, isFull) {
    if (bridge && snapshot.bridge.version !== bridge.version) {
      location.reload();  // another version of the bridge serves another page
      return;
    }
    clockOffset = Date.parse(snapshot.at) - Date.now();
    bridge = snapshot.bridge;
    if (isFull) {
      const configured = new Set(snapshot.stations.map((each) => each.uuid));
      for (const uuid of stations.keys()) if (!configured.has(uuid)) stations.delete(uuid);
    }
    for (const each of snapshot.stations) updateStation(each, isFull);
    lastSnapshot = snapshot;
    renderComponents();
    if (isFull || snapshot.stations.length) {
      renderTotals();
      renderList(false);
    }
  }

  // Bridge, broker, cloud and totals

  let lastSnapshot = null;
  const LEVEL_ICONS = { ok: "online", warning: "problem", error: "unavailable", none: "waiting" };
  function renderComponent(id, level, text, details) {
    const box = $(id).querySelector(".level");
    setAttribute(box, "data-level", level);
    setAttribute(box.querySelector("use"), "href", `#i-${LEVEL_ICONS[level]}`);
    setText(box.querySelector("b"), text);
    setText($(id).querySelector(".details"), details);
  }
  function renderFleet(fleet) {
    setHidden($("fleet"), !fleet);
    if (!fleet) return;
    const problem = !fleet.connected ? `${fleet.engine} does not answer` : fleet.conflict;
    const held = `${fleet.held.length} of ${fleet.shards} shards here`;
    renderComponent("fleet", problem ? "warning" : "ok", problem || (fleet.members.length ? "working" : "static shares"),
      `${fleet.member}, ${held}${fleet.members.length ? "; members:" : ""}`);
    const list = $("members"), joined = JSON.stringify(fleet.members);
    if (list[lastText] === joined) return;
    list[lastText] = joined;
    list.replaceChildren(...fleet.members.flatMap(({ name, state, shards, page }, index) => [
      index ? ", " : "", page ? createElement("a", { href: page, textContent: name }) : name,
      ` (${state === "running" ? shards.length : `${shards.length}, ${state}`})`]));
  }
  function renderComponents() {
    const { health, broker } = lastSnapshot;
    const started = Date.parse(bridge.started), since = Date.parse(broker.since);
    renderComponent("bridge", health.healthy ? "ok" : "error", health.healthy ? "working" : "stuck",
      `for ${formatAge(now() - started)}, since ${formatTime(started)}`);
    renderComponent("broker", broker.connected ? "ok" : "error", broker.connected ? "connected" : "not connected",
      `${broker.address}, since ${formatTime(since)} (${formatAge(now() - since)})`);
    renderFleet(lastSnapshot.fleet);
    const all = [...stations.values()], online = all.filter(({ data }) => data.reason === "online").length;
    const answered = all.filter(({ data }) => data.reason !== null).length;
    const [level, text] = !answered ? ["none", "no response yet"] : online === answered ? ["ok", "responding"]
      : online ? ["warning", `responding for ${online} of ${answered}`] : ["error", "no usable response"];
    renderComponent("cloud", level, text, bridge.cloud);
    setText($("client-id"), bridge.client_id === "evse-mqtt-bridge" ? "" : bridge.client_id);
    setText($("about"), `Version ${bridge.version}, topics under ${bridge.base_topic}/`);
    const messages = health.words, joined = messages.join("\n"), list = $("messages");
    setHidden(list, !joined);
    if (list[lastText] !== joined) {
      list[lastText] = joined;
      list.replaceChildren(...messages.map((textContent) => createElement("li", { textContent })));
    }
  }
  const counts = Object.fromEntries(KINDS.map(([kind]) => [kind, 0]));
  function renderTotals() {
    let power = null;
    for (const kind in counts) counts[kind] = 0;
    for (const { data } of stations.values()) {
      for (const plug of data.plugs) {
        counts.all += 1;
        counts[plug.kind] += 1;
        if (currentPower(plug) !== null) power = (power || 0) + plug.power;
      }
      if (!data.plugs.length) {  // a station without known plugs counts as one plug
        counts.all += 1;
        counts[data.reason === null ? "waiting" : "unavailable"] += 1;
      }
    }
    setText($("total-power"), formatPower(power));
    const setCount = (node, count) => {
      if (node[lastText] !== `${count}/${counts.all}`) {
        node[lastText] = `${count}/${counts.all}`;
        node.replaceChildren(formatNumber(count), " ", createElement("small", { textContent: `of ${formatNumber(counts.all)}` }));
      }
    };
    setCount($("total-charging"), counts.charging);
    setCount($("total-unavailable"), counts.unavailable);
    setAttribute($("total-unavailable"), "class", counts.unavailable ? "alarm" : null);
    setText($("total-stations"), formatNumber(stations.size));
    for (const [kind] of KINDS) {
      const { label, count } = chips[kind];
      setText(count, formatNumber(counts[kind]));
      setHidden(label, RARE_KINDS.has(kind) && !counts[kind] && filter.state !== kind);
    }
    const title = counts.unavailable ? `${counts.unavailable} unavailable · evse-mqtt-bridge` : "evse-mqtt-bridge";
    if (document.title !== title) document.title = title;
  }

  // List of stations

  const compareNames = new Intl.Collator("en", { numeric: true, sensitivity: "base" }).compare;
  const byName = (a, b) => compareNames(a.data.name, b.data.name) || compareNames(a.uuid, b.uuid);
  const URGENCY = { unavailable: 0, problem: 1, waiting: 2 };  // the lowest number comes first
  const urgency = ({ data }) => Math.min(
    data.reason !== "online" ? (data.reason === null ? 2 : -1) : 9, data.misses ? 3 : 9,
    ...data.plugs.map((plug) => URGENCY[plug.kind] ?? 9));
  const totalPower = ({ data }) => data.plugs.reduce((total, plug) => total + (currentPower(plug) ?? 0), 0);
  const oldestTime = ({ data }) => Math.min(Infinity, ...data.plugs.map((plug) => (plug.time ? Date.parse(plug.time) : Infinity)));
  const SORT_KEYS = { attention: urgency, power: (station) => -totalPower(station), age: oldestTime };

  // Returns the plugs of a station that match the filter, or null if the station itself does not match.
  function matchingPlugs(station, terms) {
    const { data } = station;
    const rest = terms.filter((term) => !station.searchText.includes(term));
    let plugs = data.plugs.filter((plug) => rest.every((term) => plug.searchText.includes(term)));
    if (rest.length && !plugs.length) return null;
    if (filter.state !== "all") {
      plugs = plugs.filter((plug) => plug.kind === filter.state);
      const countsAsPlug = !data.plugs.length && filter.state === (data.reason === null ? "waiting" : "unavailable");
      if (!plugs.length && !countsAsPlug) return null;
    }
    return plugs;
  }
  function resultText(found, plugs) {
    const total = stations.size, all = pluralize(total, "station");
    if (!total) return "No stations.";
    if (filter.q || filter.state !== "all") {
      if (!found) return `No matches among ${all}.`;
      const shown = found > limit ? ` Showing the first ${limit}.` : "";
      return `Found ${formatNumber(found)} of ${all}, with ${pluralize(plugs, "plug")}.${shown}`;
    }
    return total > limit ? `Showing the first ${limit} of ${all}.` : `${all} with ${pluralize(plugs, "plug")}.`;
  }
  const list = $("list");
  function renderList(isUserAction) {
    const terms = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    let plugs = 0;
    for (const station of stations.values()) {
      station.matches = matchingPlugs(station, terms);
      if (station.matches) {
        found.push(station);
        plugs += station.matches.length;
      }
    }
    const sortKey = SORT_KEYS[filter.sort];
    if (sortKey) for (const station of found) station.sortKey = sortKey(station);
    // The order stays while the pointer or the focus is in the list, so that nothing moves away under it.
    const keepOrder = !isUserAction && sortKey && (list.matches(":hover") || list.contains(document.activeElement));
    found.sort(keepOrder ? (a, b) => (a.position ?? Infinity) - (b.position ?? Infinity) || 0
      : sortKey ? (a, b) => (a.sortKey < b.sortKey ? -1 : a.sortKey > b.sortKey ? 1 : byName(a, b)) : byName);
    const shown = found.slice(0, limit);
    removeCardsExcept(new Set(shown));
    let next = list.firstChild;
    shown.forEach((station, index) => {
      station.position = index;
      if (!station.card) {
        station.card = createStationCard(station.uuid);
        station.card.update(station);
        cards.set(station.card.node, station);
      }
      const { node, rows } = station.card;
      if (node === next) next = next.nextSibling;
      else list.insertBefore(node, next);
      for (const plug of station.data.plugs) setHidden(rows.get(plug.uuid).node, !station.matches.includes(plug));
    });
    setText($("result"), resultText(found.length, plugs));
    setHidden($("more"), found.length <= limit);
    setText($("show-more"), `Show ${Math.min(PAGE_SIZE, found.length - limit)} more`);
    setText($("show-all"), `Show all ${formatNumber(found.length)}`);
  }
  function removeCardsExcept(shown) {
    for (const station of stations.values()) station.position = undefined;
    for (const [node, station] of cards) {
      if (!shown.has(station) || stations.get(station.uuid) !== station) {
        node.remove();
        cards.delete(node);
        station.card = null;
      }
    }
  }

  // Filter, kept in the fragment of the URL so that it can be bookmarked

  const chips = {};
  const chipRow = createElement("div", { className: "chips" });
  for (const [kind, text] of KINDS) {
    const input = createElement("input", { type: "radio", name: "state", value: kind });
    const count = createElement("b", { textContent: "0" });
    const label = createElement("label", { className: "chip" }, input, ...(kind === "all" ? [] : [createIcon(kind)]),
      createElement("span", { textContent: text }), count);
    chips[kind] = { label, input, count };
    chipRow.append(label);
  }
  $("states").append(chipRow);

  function readUrl() {
    const parameters = new URLSearchParams(location.hash.slice(1));
    filter.state = Object.hasOwn(chips, parameters.get("state")) ? parameters.get("state") : "all";
    filter.sort = SORT_ORDERS.has(parameters.get("sort")) ? parameters.get("sort") : "name";
    filter.q = parameters.get("q") || "";
    chips[filter.state].input.checked = true;
    $("sort").value = filter.sort;
    if ($("search").value !== filter.q) $("search").value = filter.q;
    limit = PAGE_SIZE;
  }
  function writeUrl() {
    const parameters = new URLSearchParams();
    if (filter.state !== "all") parameters.set("state", filter.state);
    if (filter.sort !== "name") parameters.set("sort", filter.sort);
    if (filter.q) parameters.set("q", filter.q);
    const text = parameters.toString();
    history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
  }
  function filterChanged() {
    limit = PAGE_SIZE;
    writeUrl();
    renderTotals();
    renderList(true);
  }
  chipRow.addEventListener("change", (event) => { filter.state = event.target.value; filterChanged(); });
  $("sort").addEventListener("change", (event) => { filter.sort = event.target.value; filterChanged(); });
  $("search").addEventListener("input", (event) => { filter.q = event.target.value.trim(); filterChanged(); });
  $("show-more").addEventListener("click", () => { limit += PAGE_SIZE; renderList(true); });
  $("show-all").addEventListener("click", () => { limit = Infinity; renderList(true); });
  $("skip").addEventListener("click", (event) => { event.preventDefault(); list.focus(); });
  addEventListener("hashchange", () => { readUrl(); renderTotals(); renderList(true); });

  // Event stream

  let stream = null, lastEventAt = 0, disconnectedAt = null, errorText = "", reconnectTimer = 0, isPaused = false, pauseTimer = 0;
  function renderConnection() {
    const state = disconnectedAt !== null || isPaused ? "no" : lastEventAt ? "yes" : "waiting";
    setAttribute(document.body, "data-live", state);
    setAttribute($("live"), "data-live", state);
    setAttribute($("live").querySelector("use"), "href", { no: "#i-disconnected", yes: "#i-online", waiting: "#i-waiting" }[state]);
    setText($("live-text"), isPaused ? "paused" : { no: "not live", yes: "live", waiting: "connecting …" }[state]);
    setHidden($("disconnected"), disconnectedAt === null);
    if (disconnectedAt !== null) {
      const age = lastEventAt ? ` The values shown are ${formatAge(Date.now() - lastEventAt)} old.` : "";
      setText($("disconnected"), `No connection to the bridge since ${formatTime(disconnectedAt, TIME_WITH_SECONDS)}.${age}${
        errorText ? ` ${errorText}` : ""} Retrying …`);
    }
  }
  function connectionLost() {
    if (disconnectedAt === null) disconnectedAt = now();
    renderConnection();
  }
  function eventReceived(event, isFull) {
    try {
      applySnapshot(JSON.parse(event.data), isFull);
    } catch (error) {
      console.error(error);
      errorText = "This page cannot display the data from the bridge.";
      connectionLost();
      return;
    }
    lastEventAt = Date.now();
    disconnectedAt = null;
    errorText = "";
    renderConnection();
    tickHistory();
  }
  function disconnect() {
    clearTimeout(reconnectTimer);
    stream?.close();
    stream = null;
  }
  function connect() {
    disconnect();
    isPaused = false;
    const source = (stream = new EventSource("api/events"));
    source.addEventListener("picture", (event) => { if (source === stream) eventReceived(event, true); });
    source.addEventListener("change", (event) => { if (source === stream) eventReceived(event, false); });
    source.addEventListener("error", () => {
      if (source !== stream) return;
      connectionLost();
      if (source.readyState === EventSource.CLOSED) {  // rejected: the browser does not reconnect by itself
        fetchErrorText();
        reconnectTimer = setTimeout(connect, 5000);
      }
    });
    renderConnection();
  }
  // An EventSource does not expose the response that rejected it, so it is requested again.
  async function fetchErrorText() {
    const abort = new AbortController();
    try {
      const response = await fetch("api/events", { signal: abort.signal });
      const isPlainText = (response.headers.get("Content-Type") || "").startsWith("text/plain");  // not the HTML page of a proxy
      errorText = response.ok ? "" : isPlainText ? (await response.text()).trim().slice(0, 300) : `HTTP ${response.status}`;
    } catch { errorText = ""; }
    abort.abort();
    renderConnection();
  }
  // A hidden page disconnects, to save work in the bridge.
  document.addEventListener("visibilitychange", () => {
    clearTimeout(pauseTimer);
    if (document.hidden) {
      pauseTimer = setTimeout(() => { disconnect(); isPaused = true; renderConnection(); }, PAUSE_AFTER);
    } else if (isPaused) connect();
  });

  let lastMinute = 0;
  setInterval(() => {
    if (document.hidden) return;
    if (stream && lastEventAt && disconnectedAt === null && Date.now() - lastEventAt > STREAM_TIMEOUT) {
      connectionLost();
      connect();
    }
    renderConnection();
    if (lastSnapshot) renderComponents();
    tickHistory();
    const minute = Math.floor(now() / 60000), isNewMinute = minute !== lastMinute;
    lastMinute = minute;
    for (const { card } of cards.values()) {
      card.tick();
      if (isNewMinute) card.redraw();
    }
  }, 1000);

  readUrl();
  connect();
})();
