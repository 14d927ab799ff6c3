// The browser's side of the chat page: conversations in localStorage, language, colours, keys,
// and plain words when the server can't be reached. No library, nothing from outside.
window.openqwen = (() => {
  const PREFIX = "openqwen.chat.";
  const TALK = PREFIX + "talk.";
  const WORDS = {
    en: {
      talks: "Conversations", new: "New conversation", rename: "Rename", remove: "Delete",
      export: "Export", import: "Import", unnamed: "New conversation", title: "Title",
      sure: "Delete this conversation?", theme: "Light or dark", language: "中文",
      hello: "What shall we do?", hint: "Conversations stay in this browser.",
      keys: "Enter sends, Shift+Enter makes a new line, Esc stops.",
      lost: "The server can't be reached. Your conversation and what you typed are kept; this " +
        "page goes on by itself when it is back.",
      back: "The server is back. An answer that was cut off can be made again with ↻.",
      login: "You have been logged out. Open this page in a new tab to log in; nothing is lost.",
      limit: "Too many requests. What you typed is kept: try again in a moment.",
      stops: "The server is about to stop. What you typed is kept.",
      large: "This conversation is too large to be sent. Start a new one.",
      refused: "The server refused this. What you typed is kept.",
      full: "This browser's storage is full: this conversation will not be kept. Delete or " +
        "export others.",
      bad: "This file holds no conversations of openqwen.",
      sending: "Your message; Enter sends", answering: "The answer is being written",
      done: "The answer has ended", skip: "To the message box", menu: "Open or close the side bar",
      drop: "images were dropped from older conversations to make room",
    },
    zh: {
      talks: "对话列表", new: "新对话", rename: "重命名", remove: "删除", export: "导出",
      import: "导入", unnamed: "新对话", title: "标题", sure: "删除这个对话？",
      theme: "浅色或深色", language: "English", hello: "想聊点什么？",
      hint: "对话只保存在此浏览器中。",
      keys: "Enter 发送，Shift+Enter 换行，Esc 停止。",
      lost: "无法连接服务器。对话和已输入的内容都已保留；服务器恢复后本页会自动继续。",
      back: "服务器已恢复。中断的回答可以用 ↻ 重新生成。",
      login: "登录已失效。请在新标签页打开本页并登录，内容不会丢失。",
      limit: "请求过多。已输入的内容已保留，请稍后重试。",
      stops: "服务器即将停止。已输入的内容已保留。",
      large: "对话过大，无法发送。请新建对话。",
      refused: "服务器拒绝了请求。已输入的内容已保留。",
      full: "浏览器存储已满，此对话将不会保存。请删除或导出其他对话。",
      bad: "此文件中没有 openqwen 的对话。",
      sending: "你的消息，Enter 发送", answering: "正在回答", done: "回答结束", skip: "跳到输入框",
      menu: "打开或关闭侧栏", drop: "为腾出空间，已删除较早对话中的图片",
    },
  };

  // ---- language and colours, before gradio looks at them
  const store = (key, value) => {
    try { localStorage.setItem(PREFIX + key, value); } catch { /* full: kept for this page only */ }
  };
  const stored = (key) => localStorage.getItem(PREFIX + key) || "";
  const language = stored("language") || (/^zh/i.test(navigator.language) ? "zh" : "en");
  const words = WORDS[language];
  const locale = language === "zh" ? "zh-CN" : "en";
  Object.defineProperty(navigator, "language", { get: () => locale });
  Object.defineProperty(navigator, "languages", { get: () => [locale] });
  document.documentElement.lang = locale;
  const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => stored("theme") ? stored("theme") === "dark" : prefersDark.matches;
  const address = new URL(location.href);
  address.searchParams.delete("view");
  if (stored("theme")) address.searchParams.set("__theme", stored("theme"));
  else address.searchParams.delete("__theme");
  history.replaceState(null, "", address);
  const paint = () => {
    document.body.classList.toggle("dark", isDark());
    document.documentElement.style.colorScheme = isDark() ? "dark" : "light";
  };

  // ---- conversations
  const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
  const read = (id) => {
    try { return JSON.parse(localStorage.getItem(TALK + id)); } catch { return null; }
  };
  const ids = () => Object.keys(localStorage)
    .filter((key) => key.startsWith(TALK)).map((key) => key.slice(TALK.length));
  const list = () => ids().map(read).filter(Boolean)
    .sort((a, b) => (b.updated || 0) - (a.updated || 0));
  let current = sessionStorage.getItem(PREFIX + "current") || stored("current");
  let waiting = null; // a new conversation that nothing has been said in yet

  const write = (talk) => {
    const text = JSON.stringify(talk);
    for (let tries = 0; tries < 2; tries++) {
      try { localStorage.setItem(TALK + talk.id, text); return true; } catch {
        if (tries === 0) dropImages(talk.id);
      }
    }
    tell(words.full, "error");
    return false;
  };
  const dropImages = (except) => {
    for (const talk of list()) {
      if (talk.id === except) continue;
      for (const message of talk.messages || []) {
        for (const step of message.steps || []) step.images = (step.images || []).map(() => "");
      }
      try { localStorage.setItem(TALK + talk.id, JSON.stringify(talk)); } catch { /* shorter */ }
    }
    tell(words.drop, "note");
  };
  const choose = (id) => {
    current = id;
    sessionStorage.setItem(PREFIX + "current", id);
    store("current", id);
  };
  const picked = () => {
    let talk = (waiting && waiting.id === current) ? waiting : read(current);
    if (!talk) {
      talk = waiting = { id: newId(), messages: [], choices: lastChoices() };
      choose(talk.id);
    }
    draw();
    const { updated, ...plain } = talk;
    const typed = isReady ? box()?.value : sessionStorage.getItem(PREFIX + "typed");
    return [JSON.stringify(plain), typed || ""];
  };
  const lastChoices = () => {
    try { return JSON.parse(stored("choices")) || {}; } catch { return {}; }
  };
  const keep = (text) => {
    let talk;
    try { talk = JSON.parse(text); } catch { return; }
    if (!talk || !talk.messages || !talk.messages.length || !talk.id) return;
    const before = read(talk.id);
    if (before && before.title && before.renamed) {
      talk.title = before.title;
      talk.renamed = true;
    }
    if (before) {
      const { updated, ...plain } = before;
      if (JSON.stringify(plain) === JSON.stringify(talk)) return;
    }
    talk.updated = Date.now();
    write(talk);
    if (waiting && waiting.id === talk.id) waiting = null;
    draw();
  };
  const NAMES = ["model", "tools", "system", "temperature", "top_p", "top_k", "max_tokens",
    "seed", "repetition_penalty"];
  let seen = "", isReady = false;
  const keepSeen = () => { // gradio tells of changes at an answer's end only
    const text = document.querySelector("#oq-talk textarea")?.value || "";
    if (text !== seen) { seen = text; keep(text); }
    if (shownId() === current) block(false);
    if (isReady && box()) sessionStorage.setItem(PREFIX + "typed", box().value);
  };
  const keepChoices = (values) => {
    const choices = Object.fromEntries(NAMES.map((name, i) => [name, values[i]])
      .filter(([, value]) => value !== undefined && value !== null));
    store("choices", JSON.stringify(choices));
    const talk = read(current);
    if (waiting && waiting.id === current) waiting.choices = choices;
    if (talk) { talk.choices = choices; write(talk); }
  };
  const open = (id) => {
    choose(id);
    block(true); // nothing is sent before it is here
    document.getElementById("oq-open")?.click();
    if (isPhone()) toggleSide(false);
  };
  const block = (isBlocked) => {
    const row = document.getElementById("oq-ask");
    if (!row || row.inert === isBlocked) return;
    row.inert = isBlocked;
    if (box()) box().disabled = isBlocked;
    if (!isBlocked && !isPhone()) box()?.focus();
  };
  const shownId = () => {
    try { return JSON.parse(seen).id; } catch { return ""; }
  };
  const begin = () => {
    waiting = { id: newId(), messages: [], choices: lastChoices() };
    open(waiting.id);
  };
  const rename = (id) => {
    const talk = read(id);
    const title = talk && prompt(words.title, talk.title);
    if (!title) return;
    talk.title = title.slice(0, 200);
    talk.renamed = true;
    write(talk);
    draw();
  };
  const remove = (id) => {
    if (!confirm(words.sure)) return;
    localStorage.removeItem(TALK + id);
    if (id !== current) return draw();
    const next = list()[0];
    return next ? open(next.id) : begin();
  };
  const exportAll = () => {
    const file = { format: "openqwen chat", version: 1, talks: list() };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(
      new Blob([JSON.stringify(file, null, 1)], { type: "application/json" }));
    link.download = "openqwen-chat.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const importFile = () => {
    const input = document.createElement("input");
    input.type = "file";
    input.accept = "application/json,.json";
    input.id = "oq-file";
    input.onchange = async () => {
      let talks = [];
      try { talks = JSON.parse(await input.files[0].text()).talks; } catch { /* told below */ }
      const good = (Array.isArray(talks) ? talks : [])
        .filter((talk) => talk && Array.isArray(talk.messages));
      if (!good.length) return tell(words.bad, "error");
      const known = new Set(ids());
      for (const talk of good) {
        const same = known.has(talk.id) &&
          JSON.stringify(read(talk.id).messages) === JSON.stringify(talk.messages);
        const isFree = typeof talk.id === "string" && /^\w{4,40}$/.test(talk.id) &&
          (!known.has(talk.id) || same);
        write({ ...talk, id: isFree ? talk.id : newId(), title: String(talk.title || ""),
          updated: Number(talk.updated) || Date.now() });
      }
      draw();
      return null;
    };
    input.click();
  };

  // ---- what is drawn here
  const element = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    for (const [name, value] of Object.entries(properties)) {
      if (name.startsWith("aria-")) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  };
  const button = (text, name, onclick, more = {}) =>
    element("button", { type: "button", textContent: text, title: name, "aria-label": name,
      onclick, ...more });
  const draw = () => {
    const side = document.getElementById("oq-side");
    if (!side) return;
    const hadFocus = side.contains(document.activeElement) && document.activeElement.title;
    const rows = list().map((talk) => {
      const name = talk.title || words.unnamed;
      const row = element("li", { className: talk.id === current ? "oq-current" : "" },
        button(name, name, () => open(talk.id), { className: "oq-name" }),
        button("✎", `${words.rename}: ${name}`, () => rename(talk.id)),
        button("✕", `${words.remove}: ${name}`, () => remove(talk.id)));
      if (talk.id === current) row.firstChild.setAttribute("aria-current", "page");
      return row;
    });
    side.replaceChildren(
      button(`＋ ${words.new}`, words.new, begin, { className: "oq-new", id: "oq-new" }),
      element("ul", { "aria-label": words.talks }, ...rows),
      element("div", { className: "oq-files" },
        button(words.export, words.export, exportAll, { id: "oq-export" }),
        button(words.import, words.import, importFile, { id: "oq-import" })));
    if (hadFocus) [...side.querySelectorAll("button")].find((b) => b.title === hadFocus)?.focus();
  };
  const drawTop = () => {
    const top = document.getElementById("oq-top");
    if (!top || top.childElementCount) return;
    top.append(
      element("strong", { textContent: "openqwen" }),
      element("span", { id: "oq-state", role: "status" }),
      button("◐", words.theme, () => {
        store("theme", isDark() ? "light" : "dark");
        paint();
      }, { id: "oq-theme" }),
      button(words.language, words.language, () => {
        store("language", language === "zh" ? "en" : "zh");
        location.reload();
      }, { id: "oq-language" }));
  };
  const drawWelcome = () => {
    const welcome = document.getElementById("oq-welcome");
    if (welcome && !welcome.childElementCount) {
      welcome.append(element("h1", { textContent: words.hello }),
        element("p", { textContent: words.hint }), element("p", { textContent: words.keys }));
    }
  };
  const tell = (text, kind) => {
    document.getElementById("oq-banner")?.remove();
    if (!text) return;
    const banner = element("div", { id: "oq-banner", className: `oq-${kind}` },
      element("span", { textContent: text }),
      button("✕", "✕", () => banner.remove()));
    banner.setAttribute("role", kind === "error" ? "alert" : "status");
    document.body.append(banner);
  };
  const type = (text) => {
    if (!text || !box() || box().value) return;
    box().value = text;
    box().dispatchEvent(new Event("input", { bubbles: true }));
  };
  const box = () => document.querySelector("#oq-box textarea");

  // ---- the server: gone, back, refusing
  let isLost = false, misses = 0;
  const plainFetch = window.fetch.bind(window);
  window.fetch = async (input, init) => {
    const url = String(input?.url || input);
    if (!url.includes("/gradio_api/queue/join")) return plainFetch(input, init);
    const typed = box()?.value;
    let response;
    try { response = await plainFetch(input, init); } catch (error) {
      lose();
      throw error;
    }
    if (!response.ok) {
      const why = { 401: "login", 413: "large", 429: "limit", 503: "stops" }[response.status];
      tell(words[why || "refused"], "error");
      type(typed);
    }
    return response;
  };
  const lose = () => {
    if (isLost) return;
    isLost = true;
    document.body.classList.add("oq-lost");
    sessionStorage.setItem(PREFIX + "back", "yes"); // told after a reload, ours or gradio's
    tell(words.lost, "error");
  };
  const look = async () => {
    try {
      const response = await plainFetch("../health", { cache: "no-store" });
      misses = 0;
      if (isLost && response.ok) { // anew, as gradio would a moment later
        keepSeen();
        return location.reload();
      }
    } catch {
      misses += 1;
      if (misses > 1) lose();
    }
    setTimeout(look, misses ? 1000 : 3000);
    return null;
  };

  // ---- keys and small screens
  const isPhone = () => window.innerWidth <= 768;
  const toggleSide = (isOpen) => {
    const side = document.getElementById("oq-sidebar");
    if (side && side.classList.contains("open") !== isOpen) {
      side.querySelector(".toggle-button")?.click();
    }
  };
  const onKey = (event) => {
    if (event.key === "Escape") {
      const stop = document.getElementById("oq-stop");
      if (stop && stop.offsetParent) { stop.click(); event.preventDefault(); box()?.focus(); }
    }
    if (event.key !== "Enter" || event.target !== box()) return;
    if (event.isComposing) event.stopImmediatePropagation(); // the Enter that ends a word
  };
  const watch = () => {
    drawTop();
    drawWelcome();
    const side = document.getElementById("oq-side");
    if (side && !side.childElementCount) draw();
    const input = box();
    if (input && !input.hasAttribute("aria-label")) input.setAttribute("aria-label", words.sending);
    if (input && !input.disabled && !isReady) {
      isReady = true;
      if (sessionStorage.getItem(PREFIX + "back")) tell(words.back, "note");
      sessionStorage.removeItem(PREFIX + "back");
      if (isPhone()) toggleSide(false);
      else input.focus();
    }
    const state = document.getElementById("oq-state");
    const stop = document.getElementById("oq-stop");
    const isBusy = Boolean(stop && stop.offsetParent);
    if (state && state.dataset.busy !== String(isBusy)) {
      const ended = state.dataset.busy === "true";
      state.dataset.busy = String(isBusy);
      state.textContent = isBusy ? words.answering : ended ? words.done : "";
    }
    for (const toggle of document.querySelectorAll(".toggle-button:not([data-oq])")) {
      toggle.dataset.oq = "1";
      toggle.setAttribute("aria-label", words.menu);
    }
  };
  document.addEventListener("keydown", onKey, true);
  document.addEventListener("DOMContentLoaded", () => {
    paint();
    prefersDark.addEventListener("change", () => setTimeout(paint));
    new MutationObserver(watch).observe(document.body, { childList: true, subtree: true,
      attributes: true, attributeFilter: ["class", "style"] });
    setInterval(keepSeen, 250);
    setTimeout(look, 3000);
  });
  window.addEventListener("pagehide", keepSeen);
  window.addEventListener("storage", draw);
  return { picked, keepChoices };
})();
