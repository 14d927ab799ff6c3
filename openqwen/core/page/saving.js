// A page that saves by itself where openqwen serves it (body[data-saves] names where), and by
// download anywhere. The page gives:
//   field, button    the input with the person's name; the button that downloads
//   role             a select of "person" or "model"; may be left out
//   file             the name of the downloaded file
//   content()        what is saved, as JSON
//   rows()           {key: row}, what the page holds now
//   rowsOf(content)  the same of something saved
//   put(key, row)    take a row over, or none
//   show(isAtWork)   after that: draw; with marks under way the place stays
// and calls changed(key) at each mark. Rows changed here win over what the server holds, all others
// are the server's: so two tabs, or two machines, of one person lose nothing.
function saving(page) {
  const url = document.body.dataset.saves;
  page.button.addEventListener("click", () => {
    const link = document.createElement("a");
    const text = JSON.stringify(page.content(), null, 2);
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = page.file;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  if (!url) return { changed() {} };

  const FIRST_MS = 1000, LAST_MS = 20000, PAUSE_MS = 400, PATIENCE_MS = 15000;
  const store = "openqwen unsaved " + new URL(url, location.href).pathname;
  const status = document.createElement("span");
  status.id = "saved";
  status.setAttribute("role", "status");
  page.button.after(status);
  let who = "", role = "person", version = null, unsaved = new Set();
  let delay = FIRST_MS, timer = 0, isBusy = false, isLoaded = false;

  function remember() {
    try {
      localStorage.setItem(store, JSON.stringify({ who, keys: [...unsaved] }));
      if (who) localStorage.setItem("openqwen name", who);
    } catch { /* without storage the page must stay open until it has saved */ }
  }
  function tell(text, isGood) { status.textContent = text; status.dataset.good = isGood; }
  function soon(ms) { clearTimeout(timer); timer = setTimeout(save, ms); }
  function failure(message, passes) { return Object.assign(new Error(message), { passes }); }
  async function ask(method, headers, body) {
    const target = method === "GET" ? `${url}?name=${encodeURIComponent(who)}&as=${role}` : url;
    let response;
    try {
      response = await fetch(target, { method, headers, body, cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
    } catch { throw failure("the server does not answer", true); }
    if (response.ok || response.status === 412) return response;
    let why = `the server said ${response.status}`;
    try { why = (await response.json()).error.message; } catch { /* no reason given */ }
    throw failure(why, response.status >= 500 || [401, 408, 429].includes(response.status));
  }
  async function load() {
    const asked = who + role, response = await ask("GET", {}), content = await response.json();
    if (asked !== who + role) return;
    version = response.headers.get("ETag");
    const theirs = content ? page.rowsOf(content) : {}, mine = page.rows();
    for (const key of new Set([...Object.keys(theirs), ...Object.keys(mine)])) {
      if (unsaved.has(key)) continue;
      if (content) page.put(key, theirs[key]);
      else unsaved.add(key);  // nothing is kept there yet: what is here goes there
    }
    page.show(unsaved.size > 0);
    isLoaded = true;
    if (content && !unsaved.size) tell("saved before 已有: " + Object.keys(theirs).length, true);
  }
  async function send() {
    const guard = version ? { "If-Match": version } : { "If-None-Match": "*" };
    const headers = { "Content-Type": "application/json", ...guard };
    const response = await ask("PUT", headers, JSON.stringify(page.content()));
    if (response.status === 412) {  // another tab or machine of the same person has saved
      isLoaded = false;
      return false;
    }
    version = response.headers.get("ETag");
    return true;
  }
  async function save() {
    if (isBusy) return;
    if (!who) { if (unsaved.size) tell("not saved 未保存: write your name 请写姓名", false); return; }
    isBusy = true;
    const asked = who + role;
    let sent = new Set(), passes = true;
    try {
      if (!isLoaded) await load();
      if (unsaved.size) {
        [sent, unsaved] = [unsaved, new Set()];
        if (await send()) {
          sent = new Set();
          tell("saved 已保存 " + new Date().toTimeString().slice(0, 5), true);
        }
      }
      delay = FIRST_MS;
    } catch (error) {
      tell("not saved 未保存: " + error.message, false);
      passes = error.passes;
      delay = Math.min(2 * delay, LAST_MS);
    }
    if (asked === who + role) for (const key of sent) unsaved.add(key);
    isBusy = false;
    remember();
    if (passes && (unsaved.size || !isLoaded)) soon(delay > FIRST_MS ? delay : PAUSE_MS);
  }
  async function begin() {  // under a name: what it saved before is shown
    const name = page.field.value.trim().normalize("NFC"), as = page.role?.value ?? "person";
    if (name === who && as === role) return;
    if (who && (isBusy || unsaved.size)) {  // first what the one before has marked
      page.field.value = who;
      if (page.role) page.role.value = role;
      await save();
      if (isBusy || unsaved.size) return;
      page.field.value = name;
      if (page.role) page.role.value = as;
    }
    if (who) for (const key of Object.keys(page.rows())) page.put(key, undefined);
    if (who) tell(`${who}: saved. Now 现在: ${name}`, true);
    who = name; role = as; version = null; isLoaded = false; delay = FIRST_MS;
    page.show(unsaved.size > 0);
    remember();
    soon(0);
  }
  try {
    const kept = JSON.parse(localStorage.getItem(store)) || {};
    page.field.value ||= kept.who || localStorage.getItem("openqwen name") || "";
    if ((kept.who || "") === page.field.value.trim() || !kept.who) for (const key of kept.keys || []) unsaved.add(key);
  } catch { /* a first visit, or no storage */ }
  page.field.addEventListener("change", begin);
  page.role?.addEventListener("change", begin);
  addEventListener("online", () => soon(0));
  addEventListener("pagehide", save);
  if (page.field.value.trim()) begin(); else tell("to save by itself it needs your name 请先写姓名", false);
  return {
    changed(key) {
      unsaved.add(key);
      remember();
      if (who) tell("saving 保存中 …", true);
      soon(PAUSE_MS);
    },
  };
}
