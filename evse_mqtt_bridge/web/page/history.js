  // Energy and sessions from the history of the bridge

  const HISTORY_INTERVAL = 60000;  // milliseconds between two requests of the same data
  const SHOWN_DAYS = 30, SHOWN_MONTHS = 12, SHOWN_SESSIONS = 10;
  const ALL_TIME = "2000-01-01";
  const UTC_DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  const UTC_MONTH = new Intl.DateTimeFormat("en-GB", { month: "long", year: "numeric", timeZone: "UTC" });
  const DAY_OF_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
  const YEAR = new Intl.DateTimeFormat("en-GB", { year: "numeric" });
  let overview = null, overviewRequestedAt = -Infinity;

  function formatEnergy(value) {
    if (value === null || value === undefined) return "–";
    if (value >= 99_999.5) {
      return `${formatNumber(value / 1000)} MWh`; // fits into its field
    }
    return `${value < 9.995 ? value.toFixed(2) : value < 999.95 ? value.toFixed(1) : formatNumber(value)} kWh`;
  }
  // The time of a session in the zone of the browser, with the year if it is not this year.
  const formatStart = (ms) => (YEAR.format(ms) === YEAR.format(now()) ? formatTime(ms) : `${DAY_OF_YEAR.format(ms)}, ${TIME.format(ms)}`);
  // Days and months are dates in the zone of the history, which may differ from that of the browser.
  const formatDay = (day) => UTC_DAY.format(Date.parse(day));
  const formatMonth = (month) => UTC_MONTH.format(Date.parse(`${month}-01`));
  const daysBefore = (day, count) => new Date(Date.parse(day) - count * 86400000).toISOString().slice(0, 10);
  function monthsBefore(day, count) {
    const date = new Date(`${day.slice(0, 7)}-01`);
    date.setUTCMonth(date.getUTCMonth() - count);
    return date.toISOString().slice(0, 7);
  }
  const isSameZone = () => Intl.DateTimeFormat().resolvedOptions().timeZone === overview.time_zone;

  async function fetchJson(path, parameters = {}) {
    const response = await fetch(Object.keys(parameters).length ? `${path}?${new URLSearchParams(parameters)}` : path);
    if (response.ok) return response.json();
    const isPlainText = (response.headers.get("Content-Type") || "").startsWith("text/plain");  // not the HTML page of a proxy
    throw new Error(isPlainText ? (await response.text()).trim().slice(0, 300) : `HTTP ${response.status}`);
  }

  // Overview

  function renderOverview() {
    setText($("energy-today"), formatEnergy(overview.today?.energy));
    setText($("energy-month"), formatEnergy(overview.month?.energy));
    setHidden($("history-error"), !overview.error);
    setAttribute($("history-error"), "class", overview.enabled ? "notice" : "details");
    setText($("history-error"), overview.error ? `Energy: ${overview.error}.` : "");
    for (const link of document.querySelectorAll("[data-history]")) setHidden(link, !overview.enabled);
  }
  async function loadOverview() {
    overviewRequestedAt = Date.now();
    try {
      overview = await fetchJson("api/history");
    } catch (error) {
      // Without a connection, the page shows that already.
      overview = { ...overview, enabled: true, error: error instanceof TypeError ? "" : error.message };
    }
    renderOverview();
    for (const panel of historyPanels) panel.tick();
  }
  function tickHistory() {
    if (!lastEventAt || disconnectedAt !== null || isPaused) return;
    if (Date.now() - overviewRequestedAt >= HISTORY_INTERVAL) loadOverview();
    for (const panel of historyPanels) panel.tick();
  }

  // Bars and tables

  function createBars(days) {
    const node = createSvg("svg", { class: "bars", viewBox: `0 0 ${days.length * 10} 60`, preserveAspectRatio: "none", role: "img" });
    const highest = Math.max(...days.map(({ energy }) => energy)), total = days.reduce((sum, { energy }) => sum + energy, 0);
    days.forEach(({ day, energy }, index) => {
      const height = highest ? Math.max(energy * 58 / highest, energy ? 1 : 0) : 0;
      const area = createSvg("g", {}), title = createSvg("title", {});
      title.textContent = `${formatDay(day)}: ${formatEnergy(energy)}`;
      area.append(title, createSvg("rect", { class: "hover-area", x: index * 10, y: 0, width: 10, height: 60 }),
        createSvg("rect", { class: "bar", x: index * 10 + 1, y: (60 - height).toFixed(1), width: 8, height: height.toFixed(1) }));
      node.append(area);
    });
    const best = days.find(({ energy }) => energy === highest);
    const text = `${formatEnergy(total)}${highest ? `, highest ${formatEnergy(highest)} on ${formatDay(best.day)}` : ""}`;
    node.setAttribute("aria-label", `energy of each of the last ${days.length} days: ${text}`);
    const zone = isSameZone() ? "" : ` Days of ${overview.time_zone}.`;
    const discharged = days.reduce((sum, day) => sum + day.energy_discharged, 0);
    return createElement("figure", {},
      createElement("figcaption", { textContent: `Last ${days.length} days: ${text}.${
        discharged ? ` Discharged ${formatEnergy(discharged)}.` : ""}${zone}` }), node,
      createElement("p", { className: "axis", "aria-hidden": "true" },
        createElement("span", { textContent: formatDay(days[0].day) }), createElement("span", { textContent: "today" })));
  }
  function createTable(caption, headings, rows) {
    const row = (tag, cells) => createElement("tr", {}, ...cells.map((content, index) =>
      createElement(tag === "th" ? "th" : index ? "td" : "th", tag === "th" ? { scope: "col" } : index ? {} : { scope: "row" },
        ...[content].flat())));
    return createElement("table", {}, createElement("caption", { textContent: caption }),
      createElement("thead", {}, row("th", headings)), createElement("tbody", {}, ...rows.map((cells) => row("td", cells))));
  }
  const createGap = (seconds) => (seconds ? [createElement("small", { textContent: `unknown for ${formatAge(seconds * 1000)}` })] : []);
  function createDownloads(links) {
    return createElement("p", { className: "downloads" }, ...links.flatMap(([text, label, path, parameters]) =>
      [createElement("a", { href: `${path}?${new URLSearchParams(parameters)}`, textContent: text, download: "", "aria-label": label })]));
  }

  // A button that opens and closes a panel. While it is open, the panel follows the history.

  const historyPanels = new Set();  // the open ones
  function createHistoryPanel(id, load) {
    const content = createElement("div", { className: "content" });
    const error = createElement("p", { className: "error", role: "status", hidden: true });
    const node = createElement("section", { className: "history", id: `h-${id}`, hidden: true }, error, content);
    const button = createElement("button", { type: "button", className: "toggle", textContent: "History", "aria-controls": node.id });
    let requestedAt = -Infinity, name = "", isLoading = false;
    function showError(text) {
      setHidden(error, !text);
      setText(error, text);
    }
    const panel = { button, node, update(newName) {
      name = newName;
      setAttribute(button, "aria-label", `History of ${name}`);
      setAttribute(node, "aria-label", `History of ${name}`);
      panel.render();
    }, render() {
      const isOpen = openPanels.has(node.id);
      setAttribute(button, "aria-expanded", String(isOpen));
      setHidden(node, !isOpen);
      historyPanels[isOpen ? "add" : "delete"](panel);
      if (isOpen) panel.tick();
    }, async tick() {
      if (!node.isConnected || !overview || isLoading || Date.now() - requestedAt < HISTORY_INTERVAL) return;
      if (!overview.enabled) return showError(`${overview.error}.`);
      if (!overview.day) return showError(overview.error ? `${overview.error}.` : "loading …");
      if (content.contains(document.activeElement)) return;  // the focus stays on its link
      requestedAt = Date.now();
      isLoading = true;
      if (!content.firstChild) showError("loading …");
      try {
        content.replaceChildren(...await load(name));
        showError("");
      } catch (failure) {
        showError(failure instanceof TypeError ? "No connection to the bridge." : `${failure.message}${failure.message.endsWith(".") ? "" : "."}`);
      }
      isLoading = false;
    }, close() { historyPanels.delete(panel); } };
    button.addEventListener("click", () => {
      if (!openPanels.delete(node.id)) openPanels.add(node.id);
      panel.render();
    });
    return panel;
  }

  async function loadPlugHistory(station, plug, name) {
    const of = { station, plug }, { day } = overview;
    const [energy, sessions] = await Promise.all([
      fetchJson("api/energy", { ...of, by: "day", since: daysBefore(day, SHOWN_DAYS - 1) }),
      fetchJson("api/sessions", { ...of, since: ALL_TIME, limit: SHOWN_SESSIONS }),
    ]);
    const found = new Map(energy.map((each) => [each.day, each]));
    const days = Array.from({ length: SHOWN_DAYS }, (_, index) => daysBefore(day, SHOWN_DAYS - 1 - index))
      .map((each) => found.get(each) || { day: each, energy: 0, energy_discharged: 0 });
    const rows = sessions.map((session) => {
      const started = Date.parse(session.started);
      return [`${session.started_known ? "" : "before "}${formatStart(started)}`, formatAge(Date.parse(session.ended) - started),
        [formatEnergy(session.energy), ...createGap(session.energy_gap)], formatPower(session.peak_power)];
    });
    const table = rows.length ? createTable(rows.length < SHOWN_SESSIONS ? "Sessions" : `Last ${SHOWN_SESSIONS} sessions`,
      ["Plugged in", "For", "Energy", "Highest power"], rows)
      : createElement("p", { textContent: "No session has ended yet." });
    return [createBars(days), table, createDownloads([
      ["All sessions (CSV)", `All sessions of ${name} (CSV)`, "api/sessions.csv", { ...of, since: ALL_TIME }],
      ["Energy by day (CSV)", `Energy of ${name} by day (CSV)`, "api/energy.csv", { ...of, by: "day", since: ALL_TIME }],
    ])];
  }
  async function loadStationHistory(station, name) {
    const months = await fetchJson("api/energy", { station, by: "month", since: monthsBefore(overview.day, SHOWN_MONTHS - 1) });
    const hasDischarged = months.some((month) => month.energy_discharged);
    const rows = months.reverse().map((month) => [formatMonth(month.month),
      [formatEnergy(month.energy), ...createGap(month.energy_gap)], ...(hasDischarged ? [formatEnergy(month.energy_discharged)] : [])]);
    const table = rows.length ? createTable("Energy of the station by month",
      ["Month", "Energy", ...(hasDischarged ? ["Discharged"] : [])], rows)
      : createElement("p", { textContent: "No energy has been counted yet." });
    return [table, createDownloads([
      ["Energy by month (CSV)", `Energy of ${name} by month (CSV)`, "api/energy.csv", { station, by: "month", since: ALL_TIME }],
      ["All sessions (CSV)", `All sessions of ${name} (CSV)`, "api/sessions.csv", { station, since: ALL_TIME }],
    ])];
  }

