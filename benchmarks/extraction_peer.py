"""One extractor over the pages on standard input; extraction_speed.py runs it in the peers' venv.

PYTHON benchmarks/extraction_peer.py < request.json > answer.json
"""

import gc
import json
import sys
import time
from importlib.metadata import version


def load(name):
    """Return the function from a page to its main text, and the package's version."""
    if name.startswith("resiliparse"):
        from resiliparse.extract.html2text import extract_plain_text

        main = name == "resiliparse main content"
        return lambda html: extract_plain_text(html, main_content=main), version("resiliparse")
    if name == "trafilatura":
        import trafilatura

        return (
            lambda html: (
                trafilatura.extract(
                    html, output_format="markdown", include_tables=True, include_comments=False
                )
                or ""
            ),
            version("trafilatura"),
        )
    if name == "readability":
        from readability import Document
        from resiliparse.extract.html2text import extract_plain_text

        return (
            lambda html: extract_plain_text(Document(html).summary()),
            version("readability-lxml"),
        )
    from openqwen.data.extraction.html import main_text

    gc.disable()  # as in the pipeline's HTML workers (openqwen/data/extraction/isolated_child.py)
    return main_text, ""


def main():
    request = json.load(sys.stdin)
    extract, number = load(request["name"])
    texts, failures = [], 0
    for html in request["pages"][:3]:
        extract(html)  # first use compiles expressions and fills caches
    begin = time.process_time()
    for html in request["pages"]:
        try:
            texts.append(extract(html))
        except Exception:
            texts.append("")
            failures += 1
    seconds = time.process_time() - begin
    answer = {"seconds": seconds, "failures": failures, "version": number}
    json.dump(answer | {"texts": texts if request["want_texts"] else []}, sys.stdout)


if __name__ == "__main__":
    main()
