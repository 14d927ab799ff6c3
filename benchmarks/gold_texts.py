"""The words `extraction_gold` makes pages of: prose, names, code, formulas and page furniture."""

SENTENCES = {
    "en": (
        "The keeper of the lighthouse wrote down the height of every tide for forty years.",
        "Nobody had asked him to, and he never explained why he thought it worth the ink.",
        "When the numbers were drawn as a curve, an old earthquake became visible in them.",
        "A harbour answers to a wave with its own period, much as a glass answers to a note.",
        "The first engineers who noticed this moved the wall by nine metres and slept better.",
        "Salt creeps into brass fittings within weeks, so they were greased every Monday.",
        "Ships that arrived at night saw two flashes, then a pause of eleven seconds.",
        "It takes patience to read a table of figures as if it were a story, but it can be done.",
        "Each page of the log ends with the weather, which was mostly wind from the west.",
        "Copies were sent to the capital, where they lay unread in a dry and quiet cellar.",
        "A student found them by accident while she was looking for a map of drains.",
        "She spent the winter typing them in, and the spring hunting for her own mistakes.",
        "Errors of a single digit were common; errors of a whole column happened twice.",
        "The corrected series is the longest of its kind on that stretch of coast.",
        "Today a sensor does the same work, and it has already failed more often than he did.",
        "If you compare both records, the sea has risen by about the width of a hand.",
        "Measurements become valuable slowly, and mostly to people who are not yet born.",
        "That is why the last line of his instructions says only to keep going.",
    ),
    "de": (
        "Der Müller hob jeden Abend die Körner auf, die zwischen den Brettern lagen.",
        "Über viele Jahre wurde daraus ein Sack, den niemand anrühren durfte.",
        "Als das Wehr brach, stand das Wasser bis zur dritten Stufe im Haus.",
        "Die Räder drehten sich rückwärts, was nach den Büchern unmöglich war.",
        "Ein Zimmermann aus dem Nachbardorf erklärte es mit dem Gefälle des Kanals.",
        "Später rechnete seine Tochter nach und fand einen Fehler von zwei Zoll.",
        "Man änderte daraufhin die Zähne am großen Rad und ölte die Lager neu.",
        "Seitdem läuft die Mühle leiser, aber auch ein wenig langsamer als früher.",
        "Wer heute vorbeigeht, hört nur noch das Rauschen unter der Brücke.",
        "Im Archiv liegen Zeichnungen, auf denen jede Schraube einzeln vermerkt ist.",
        "Sie sind so genau, dass man die Anlage danach noch einmal bauen könnte.",
        "Ein Verein sammelt Geld dafür und hat bisher knapp die Hälfte beisammen.",
        "Das schwierigste Teil ist die Welle, denn solches Holz wächst kaum noch.",
        "Vielleicht wird man sie aus Stahl machen und die Farbe anpassen.",
        "Der alte Sack mit den Körnern hängt noch immer hinter der Tür.",
        "Keiner weiß, ob daraus jemals wieder etwas wachsen würde.",
    ),
    "zh": (
        "守塔人每天清晨都会记下潮水的高度，四十年从未间断。",
        "没有人要求他这样做，他也从不解释为什么值得花费这些墨水。",
        "把这些数字画成曲线以后，一场古老的地震便清楚地显现出来。",
        "港湾会以自己的周期回应海浪，就像玻璃杯回应某个音符一样。",
        "最早注意到这一点的工程师把堤坝移动了九米，从此睡得安稳。",
        "盐分几个星期就会侵入黄铜零件，所以每逢星期一都要上油。",
        "夜里到达的船只先看到两次闪光，然后是十一秒的停顿。",
        "把一张数字表当作故事来读需要耐心，但并不是做不到。",
        "日志的每一页都以天气结尾，大多是从西边吹来的风。",
        "抄本被送往京城，在一间干燥而安静的地窖里无人翻阅。",
        "一位学生在寻找旧水渠地图的时候偶然发现了它们。",
        "她用一个冬天把它们录入电脑，又用一个春天查找自己的错误。",
        "个别数字的差错很常见，整列抄错的情况只发生过两次。",
        "订正以后的记录是那段海岸上同类资料中最长的一份。",
        "如今由传感器来完成同样的工作，而它出故障的次数已经比他多。",
        "比较两份记录就会发现，海面大约上升了一个手掌的宽度。",
    ),
}
NAMES = {
    "en": ("Harbour waves", "Brass and salt", "Reading columns", "Wind records", "Night signals"),
    "de": ("Wasserrad", "Gefälle", "Lagerschalen", "Zeichnungen", "Alte Welle"),
    "zh": ("潮汐记录", "港湾共振", "灯塔信号", "数据订正", "海岸变化"),
}
CODE = (
    "def tide(hour, levels):\n    total = 0\n    for level in levels:\n        if level > hour:\n"
    "            total += level * 2\n    return total",
    'int main(void)\n{\n\tint i;\n\tfor (i = 0; i < 10; i++) {\n\t\tprintf("%d\\n", i * i);\n\t}\n'
    "\treturn 0;\n}",
    "$ gauge --port 7 --verbose\nreading: 4.31 m\nreading: 4.29 m\n\n$ gauge --stop",
    "SELECT station, max(level)\n  FROM readings\n WHERE taken < '1912-04-01'\n GROUP BY station;",
    '<section id="log">\n  <entry day="3">\n    <wind from="west"/>\n  </entry>\n</section>',
)
FORMULAS = (
    (r"E = mc^2", "<mi>E</mi><mo>=</mo><mi>m</mi><msup><mi>c</mi><mn>2</mn></msup>"),
    (
        r"\frac{a+b}{2} \geq \sqrt{ab}",
        "<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></mfrac><mo>≥</mo>"
        "<msqrt><mi>a</mi><mi>b</mi></msqrt>",
    ),
    (
        r"\sum_{i=1}^{n} x_i < 10",
        "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover>"
        "<msub><mi>x</mi><mi>i</mi></msub><mo>&lt;</mo><mn>10</mn>",
    ),
    (
        r"\int_0^1 f(t)\,dt",
        "<msubsup><mo>∫</mo><mn>0</mn><mn>1</mn></msubsup><mi>f</mi><mo>(</mo><mi>t</mi><mo>)</mo>"
        "<mi>d</mi><mi>t</mi>",
    ),
)
# none of these phrases shares a run of words with the prose
FURNITURE = {
    "en": (
        *("Skip to main content", "Daily Observer Online", "Home page", "About us", "Contact form"),
        *("Our products", "Pricing plans", "Share this article", "Tweet it", "Pin it", "Mail link"),
        *("Leave a reply", "Your address will not be published", "Recent posts", "Top ten gifts"),
        *("Summer sale 2019", "Celebrity gossip", "Copyright 2020 Example Media Group"),
        *("We use cookies to improve your experience", "Accept all", "Terms of service"),
        *("Privacy policy", "Sign up for our newsletter", "Advertisement", "Follow our channel"),
    ),
    "de": (
        *("Zum Inhalt springen", "Startseite", "Impressum", "Datenschutzerklärung", "Kontaktseite"),
        *("Unsere Produkte", "Preisliste", "Beitrag teilen", "Jetzt twittern", "Per Mail senden"),
        *("Kommentar schreiben", "Pflichtfelder sind markiert", "Neueste Beiträge", "Gewinnspiel"),
        *("Sommerschlussverkauf", "Promiklatsch", "Copyright 2020 Beispielverlag GmbH"),
        *("Diese Seite verwendet Cookies", "Alle akzeptieren", "Nutzungsbedingungen", "Anzeige"),
        *("Newsletter abonnieren", "Folgen Sie unserem Kanal", "Anmelden", "Registrieren"),
    ),
    "zh": (
        *("跳转到主要内容", "网站首页", "关于我们", "联系方式", "产品中心", "价格方案", "分享本文"),
        *(
            "微博转发",
            "微信好友",
            "发表评论",
            "您的邮箱不会被公开",
            "最新文章",
            "热门推荐",
            "抽奖活动",
        ),
        *("明星八卦", "版权所有 某某传媒集团", "本站使用Cookie改善体验", "全部接受", "服务条款"),
        *("隐私政策", "订阅邮件通讯", "广告合作", "关注公众号", "用户登录", "免费注册"),
    ),
}
