"""Pages whose main text is known because they are made from it: blocks in templates of real kinds.

    for page in gold_pages(seed=0): page.html, page.text, page.code, page.tables, page.formulas

A page is a list of blocks (prose, lists, tables, code, formulas as MathML, KaTeX, MathJax and
images) in one of eight templates (blog, manual, wiki, forum, news, layout tables, nameless divs,
portal) in English, German or Chinese. Furniture is written so that none of it occurs in the text.
"""

import html as entities
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from gold_texts import CODE, FORMULAS, FURNITURE, NAMES, SENTENCES


@dataclass
class Page:
    """One page and what of it is to survive, or to go."""

    name: str
    html: str
    text: str = ""
    code: list[str] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)
    furniture: list[str] = field(default_factory=list)


class Writer:
    """Collects a page's content as HTML and as what a reader should get of it."""

    def __init__(self, language: str, seed: str) -> None:
        self.random = random.Random(seed)
        self.language = language
        self.sentences = list(SENTENCES[language])
        self.random.shuffle(self.sentences)
        self.used = 0
        self.html: list[str] = []
        self.page = Page(seed, "")
        self.texts: list[str] = []

    def sentence(self) -> str:
        self.used += 1
        return self.sentences[self.used % len(self.sentences)]

    def name(self) -> str:
        return self.random.choice(NAMES[self.language])

    def add(self, html: str, text: str) -> None:
        self.html.append(html)
        self.texts.append(text)

    def heading(self) -> None:
        text, level = self.name(), self.random.choice((2, 2, 3))
        link = self.random.choice(
            ("", '<a class="headerlink" href="#x" title="Permalink">¶</a>', '<a href="#x">#</a>')
        )
        self.add(f'<h{level} id="x{self.used}">{text}{link}</h{level}>', text)

    def prose(self) -> None:
        sentences = [self.sentence() for _ in range(self.random.randint(2, 5))]
        text = ("" if self.language == "zh" else " ").join(sentences)
        html = entities.escape(text)
        word = self.random.choice(sentences)[:9]
        style = self.random.choice(('<a href="/w">{}</a>', "<em>{}</em>", "<code>{}</code>", "{}"))
        html = html.replace(entities.escape(word), style.format(entities.escape(word)), 1)
        self.add(f"<p>{html}</p>", text)

    def listing(self) -> None:
        tag = self.random.choice(("ul", "ol"))
        items = [self.sentence() for _ in range(self.random.randint(3, 5))]
        wrap = self.random.choice(("{}", "<p>{}</p>"))
        inner = "".join(f"<li>{wrap.format(entities.escape(item))}</li>" for item in items)
        self.add(f"<{tag}>{inner}</{tag}>", "\n".join(items))

    def definitions(self) -> None:
        pairs = [(self.name(), self.sentence()) for _ in range(3)]
        inner = "".join(f"<dt>{a}</dt><dd>{entities.escape(b)}</dd>" for a, b in pairs)
        self.add(f"<dl>{inner}</dl>", "\n".join(f"{a}\n{b}" for a, b in pairs))

    def quote(self) -> None:
        text = self.sentence()
        self.add(f"<blockquote><p>{entities.escape(text)}</p></blockquote>", text)

    def code(self) -> None:
        text = self.random.choice(CODE)
        escaped = entities.escape(text)
        numbers = "\n".join(str(n + 1) for n in range(text.count("\n") + 1))
        spans = "\n".join(
            f'<span class="k">{line}</span>' if line else "" for line in escaped.split("\n")
        )
        html = self.random.choice(
            (
                f"<pre>{escaped}</pre>",
                f'<pre><code class="language-x">{escaped}</code></pre>',
                f'<div class="highlight-x notranslate"><div class="highlight"><pre>{spans}\n</pre>'
                "</div></div>",
                '<table class="highlighttable"><tr><td class="linenos"><div class="linenodiv">'
                f'<pre>{numbers}</pre></div></td><td class="code"><pre>{spans}</pre></td></tr>'
                "</table>",
            )
        )
        self.add(html, text)
        self.page.code.append(text)

    def table(self) -> None:
        rows = [[self.name() + " A", self.name() + " B", self.name() + " C"]]
        rows += [
            [self.name(), f"{self.random.randint(10, 99)} %", f"x{self.random.randint(100, 999)}"]
            for _ in range(self.random.randint(2, 5))
        ]
        cell = self.random.choice(("{}", "{}", "<p>{}</p>", "<code>{}</code>"))
        lines = ["".join(f"<th>{value}</th>" for value in rows[0])]
        lines += ["".join(f"<td>{cell.format(value)}</td>" for value in row) for row in rows[1:]]
        inner = "".join(f"<tr>{line}</tr>\n" for line in lines)
        self.add(f"<table>{inner}</table>", "\n".join(" ".join(row) for row in rows))
        self.page.tables.append(rows)

    def formula(self) -> None:
        tex, mathml = self.random.choice(FORMULAS)
        before, after = self.sentence(), self.sentence()
        html = self.random.choice(FORMULA_FORMS)(tex, mathml)
        self.add(f"<p>{entities.escape(before)} {html} {entities.escape(after)}</p>", "")
        self.texts[-1] = f"{before} {tex} {after}"
        self.page.formulas.append(tex)


def _annotated(tex: str, mathml: str) -> str:
    return (
        f'<math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mrow>{mathml}</mrow>'
        f'<annotation encoding="application/x-tex">{entities.escape(tex)}</annotation>'
        "</semantics></math>"
    )


def _alt_text(tex: str, mathml: str) -> str:
    return f'<math alttext="{entities.escape(tex)}"><mrow>{mathml}</mrow></math>'


def _katex(tex: str, mathml: str) -> str:
    return (
        f'<span class="katex"><span class="katex-mathml">{_annotated(tex, mathml)}</span>'
        f'<span class="katex-html" aria-hidden="true"><span class="base">{mathml}</span></span>'
        "</span>"
    )


def _mathjax2(tex: str, mathml: str) -> str:
    return (
        f'<span class="MathJax_Preview"></span><span class="MathJax_SVG" role="presentation">'
        f'<span class="MJX_Assistive_MathML" role="presentation"><math>{mathml}</math></span>'
        f'</span><script type="math/tex">{tex}</script>'
    )


def _mathjax3(tex: str, mathml: str) -> str:
    return f'<span class="math notranslate nohighlight">\\({entities.escape(tex)}\\)</span>'


def _wikipedia(tex: str, mathml: str) -> str:
    alt = entities.escape("{\\displaystyle " + tex + "}")
    return (
        '<span class="mwe-math-element"><span class="mwe-math-mathml-inline '
        f'mwe-math-mathml-a11y" style="display: none;">{_annotated(tex, mathml)}</span>'
        f'<img src="/m.svg" class="mwe-math-fallback-image-inline" alt="{alt}"></span>'
    )


def _image(tex: str, mathml: str) -> str:
    return f'<img src="/latex.php?x" class="latex" alt="{entities.escape(tex)}">'


FORMULA_FORMS: tuple[Callable[[str, str], str], ...] = (
    *(_annotated, _alt_text, _katex, _mathjax2, _mathjax3, _wikipedia, _image),
)
BLOCKS = ("prose", "prose", "prose", "heading", "listing", "definitions", "quote")
RICH_BLOCKS = ("code", "table", "formula")


def _links(names: list[str], form: str = "<li><a href='/{0}'>{1}</a></li>") -> str:
    return "".join(form.format(index, name) for index, name in enumerate(names))


SCRIPT = (
    "<script>(function(w,d){w.dataLayer=w.dataLayer||[];"
    + "w.push({event:'view',id:17});" * 60
    + "})(window,document)</script><style>"
    + ".c{margin:0;padding:0}" * 60
    + "</style>"
)


def _blog(title: str, body: str, f: list[str]) -> str:
    return (
        f'<body class="single post"><a class="skip-link screen-reader-text" href="#c">{f[0]}</a>'
        f'<header class="site-header"><p class="site-title"><a href="/">{f[1]}</a></p>'
        f'<nav class="main-navigation"><ul>{_links(f[2:7])}</ul></nav></header>'
        f'<div id="page"><main id="main"><article class="post-12 hentry"><h1 class="entry-title">'
        f'{title}</h1><div class="entry-content">{body}<div class="sharedaddy sd-sharing">'
        f"<h3>{f[7]}</h3><ul>{_links(f[8:11])}</ul></div></div></article>"
        f'<div id="comments" class="comments-area"><div id="respond"><h3>{f[11]}</h3>'
        f'<form action="/c"><p>{f[12]}</p><textarea name="c"></textarea></form></div></div></main>'
        f'<aside id="secondary" class="widget-area"><h2>{f[13]}</h2><ul>{_links(f[14:17])}</ul>'
        f'</aside></div><footer class="site-footer"><p>{f[17]}</p></footer>'
        f'<div class="cookie-notice" role="dialog"><p>{f[18]}</p><button>{f[19]}</button></div>'
    )


def _manual(title: str, body: str, f: list[str]) -> str:
    return (
        f'<body><div class="related" role="navigation"><h3>{f[0]}</h3><ul>{_links(f[1:5])}</ul>'
        f'</div><div class="document"><div class="documentwrapper"><div class="bodywrapper"><div '
        f'class="body" role="main"><section id="s"><h1>{title}<a class="headerlink" href="#s">¶'
        f'</a></h1>{body}</section></div></div></div><div class="sphinxsidebar"><div '
        f'class="sphinxsidebarwrapper"><div><h3>{f[5]}</h3><ul>{_links(f[6:12])}</ul></div>'
        f'<div role="note" aria-label="source link"><h3>{f[12]}</h3><ul class="this-page-menu">'
        f'<li><a href="/s">{f[13]}</a></li></ul></div><div id="searchbox"><h3>{f[14]}</h3>'
        f'<form><input name="q"><input type="submit" value="{f[15]}"></form></div></div></div>'
        f'</div><div class="footer">{f[16]}<br>{f[17]} <a href="/x">{f[18]}</a> {f[19]}</div>'
    )


def _wiki(title: str, body: str, f: list[str]) -> str:
    return (
        f'<body class="mediawiki"><div id="mw-page-base"></div><div id="content" class="mw-body">'
        f'<div id="siteNotice">{f[0]}</div><h1 id="firstHeading">{title}</h1><div '
        f'id="bodyContent"><div id="siteSub" class="noprint">{f[1]}</div><div id="jump-to-nav">'
        f'</div><a class="mw-jump-link" href="#h">{f[2]}</a><div id="mw-content-text" '
        f'class="mw-parser-output"><div id="toc" class="toc"><h2>{f[3]}</h2><ul>{_links(f[4:8])}'
        f"</ul></div>{body}"
        f'<div role="navigation" class="navbox"><table><tr><th>{f[8]}</th></tr><tr><td>'
        f"{_links(f[9:13], '<a href=/{0}>{1}</a> ')}</td></tr></table></div></div><div "
        f'id="catlinks" class="catlinks"><a href="/c">{f[13]}</a>: {_links(f[14:16])}</div></div>'
        f'</div><div id="mw-navigation"><h2>{f[16]}</h2><div id="p-personal"><ul>{_links(f[17:19])}'
        f'</ul></div></div><div id="footer"><ul><li id="footer-info">{f[19]}</li></ul></div>'
    )


def _forum(title: str, body: str, f: list[str]) -> str:
    return (
        f'<body class="question-page"><header class="s-topbar"><a href="/">{f[0]}</a><form '
        f'role="search"><input placeholder="{f[1]}"></form><ol>{_links(f[2:5])}</ol></header><div '
        f'class="container"><div id="left-sidebar"><nav><ol>{_links(f[5:8])}</ol></nav></div><div '
        f'id="content"><div id="question-header"><h1>{title}</h1><div class="ask"><a href="/ask">'
        f'{f[8]}</a></div></div><div id="mainbar"><div class="question"><div class="votecell">'
        f'<button aria-label="up">{f[9]}</button></div><div class="postcell"><div '
        f'class="s-prose">{body}</div><div class="post-menu"><a href="/s">{f[10]}</a> <a '
        f'href="/e">{f[11]}</a> <a href="/f">{f[12]}</a></div></div></div></div><div id="sidebar">'
        f'<div class="module sidebar-linked"><h4>{f[13]}</h4><div>'
        f"{_links(f[14:18], '<div class=gap><a href=/{0}>{1}</a></div>')}</div></div></div></div>"
        f'</div><footer id="footer"><p>{f[18]}</p><p>{f[19]}</p></footer>'
    )


def _news(title: str, body: str, f: list[str]) -> str:
    half = body.find("<p>", len(body) // 2)
    advert = f'<div class="advert ad-slot"><p>{f[0]}</p></div>'
    related = f'<aside class="related-articles"><h3>{f[1]}</h3><ul>{_links(f[2:5])}</ul></aside>'
    return (
        f'<body><div id="consent" style="display:none"><p>{f[5]}</p></div><div class="top-bar">'
        f'<ul class="menu">{_links(f[6:11])}</ul></div><ul class="breadcrumb">{_links(f[11:13])}'
        f"</ul><article itemscope><header><h1>{title}</h1></header><div "
        f'itemprop="articleBody">{body[:half]}{advert}{related}{body[half:]}</div><div '
        f'class="newsletter-signup"><h4>{f[13]}</h4><form><label>{f[14]}</label><input></form>'
        f'</div><div class="tags">{_links(f[15:17], "<a rel=tag href=/{0}>{1}</a> ")}</div>'
        f'</article><section class="popular"><h2>{f[17]}</h2><ol>{_links(f[18:20])}</ol></section>'
    )


def _layout(title: str, body: str, f: list[str]) -> str:
    return (
        f"<body bgcolor=#ffffff><table width=100% border=0><tr><td colspan=2><font size=2>"
        f"{_links(f[0:5], '[<a href={0}.html>{1}</a>] ')}</font></td></tr><tr><td width=150 "
        f"valign=top>{_links(f[5:12], '<a href={0}.html>{1}</a><br>')}</td><td valign=top>"
        f"<h1>{title}</h1>{body}</td></tr><tr><td colspan=2 align=center>"
        f"{_links(f[12:17], '<a href={0}.html>{1}</a> | ')}<br></td></tr></table>"
        f"<div class=footer><font size=1>{f[17]} {f[18]} {f[19]}</font></div>"
    )


def _nameless(title: str, body: str, f: list[str]) -> str:
    return (
        f'<body><div id="root"><div class="css-1q2w3e"><div class="css-9o8i7u">'
        f"{_links(f[0:6], '<div class=css-a1><a href=/{0}>{1}</a></div>')}</div><div "
        f'class="css-5t6y7u"><div class="css-0p"><h1 class="css-h">{title}</h1>{body}</div><div '
        f'class="css-2f"><div>{f[6]}</div>'
        f"{_links(f[7:13], '<div class=css-b2><a href=/{0}><div>{1}</div></a></div>')}</div></div>"
        f'<div class="css-7k">{_links(f[13:19], "<a class=css-c href=/{0}>{1}</a>")}<span>{f[19]}'
        "</span></div></div></div>"
    )


def _portal(title: str, body: str, f: list[str]) -> str:
    return (
        f'<body><div class="topnav w1200"><div class="fl">{f[0]}</div><div class="fr">'
        f'{_links(f[1:6], "<a href=/{0}>{1}</a>|")}</div></div><div class="crumbs">'
        f'{_links(f[6:9], "<a href=/{0}>{1}</a> &gt; ")}</div><div class="main w1200"><div '
        f'class="left"><div class="article"><h1>{title}</h1><div class="content" id="artibody">'
        f'{body}</div><div class="share-bar">{f[9]} <a href="/a">{f[10]}</a> <a href="/b">{f[11]}'
        f'</a></div></div></div><div class="right sidebar"><div class="hot-list"><h3>{f[12]}</h3>'
        f'<ul>{_links(f[13:17])}</ul></div></div></div><div class="footer"><p>{f[17]}</p>'
        f"<p>{f[18]}</p><p>{f[19]}</p></div>"
    )


TEMPLATES: dict[str, Callable[[str, str, list[str]], str]] = {
    "blog": _blog,
    "manual": _manual,
    "wiki": _wiki,
    "forum": _forum,
    "news": _news,
    "layout": _layout,
    "nameless": _nameless,
    "portal": _portal,
}


def gold_pages(seed: int, repeats: int = 4) -> list[Page]:
    """Return the set: every template in every language, `repeats` pages of each."""
    return [
        gold_page(template, language, f"{seed}/{template}/{language}/{number}")
        for number in range(repeats)
        for template in TEMPLATES
        for language in SENTENCES
    ]


def gold_page(template: str, language: str, seed: str) -> Page:
    """Return one page of 8 to 24 blocks."""
    writer = Writer(language, seed)
    kinds = [writer.random.choice(BLOCKS) for _ in range(writer.random.randint(5, 18))]
    kinds += [*RICH_BLOCKS, writer.random.choice(RICH_BLOCKS)]
    writer.random.shuffle(kinds)
    for kind in ("prose", *kinds, "prose"):
        getattr(writer, kind)()
    title = writer.name()
    page = writer.page
    page.text = "\n\n".join([title, *writer.texts])
    page.furniture = list(FURNITURE[language])
    writer.random.shuffle(page.furniture)
    page.furniture = page.furniture[:20]
    body = TEMPLATES[template](title, "\n".join(writer.html), page.furniture)
    page.html = (
        f'<!DOCTYPE html>\n<html lang="{language}"><head><meta charset="utf-8"><title>{title}'
        f"</title>{SCRIPT}</head>{body}{SCRIPT}</body></html>"
    )
    return page
