"""HTML keeps its bytes outside the words, and its structure whatever the words become."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text.pipeline import identical, sent, translated
from worker import text
from worker.text import html_tokens

PIECES = st.sampled_from(
    [
        *("words", "more words ", " ", "\n", "caf&eacute;", "R&amp;D", "&lt;b&gt;", "AT & T", "5 < 6", "&nbsp;", "—"),
        *("<b>", "</b>", "<i>", "</i>", "<a href='x' title='A title'>", "</a>", "<br>", "<br/>", "<span>", "</span>"),
        *("<p>", "</p>", "<div class=x>", "</div>", "<ul><li>", "</li></ul>", "<h1>", "</h1>", "<td>", "<P ID=a>"),
        *(
            "<img src=a alt='An image'>",
            "<input placeholder=name>",
            '<input type="submit" value="Send &quot;it&quot;">',
        ),
        *("<code>if a < b</code>", "<pre> x  y </pre>", "<script>if (a<b) '</p>'</script>", "<style>a>b{}</style>"),
        *("<!-- comment <p> -->", "<!doctype html>", "<![CDATA[x]]>", "<?php x ?>", "</>", "<", ">", "</ x>"),
        *("<span translate=no>Acme</span>", "<p class='notranslate'>Acme</p>", "<textarea>keep</textarea>", "<code>"),
        *(
            "<a href='unclosed",
            "<svg><text>keep</text></svg>",
            "<x-y>",
            "</x-y>",
            "<B\nclass = 'x'\n>",
            "{name}",
            "⟦0⟧",
        ),
    ]
)
DOCUMENTS = st.lists(PIECES, max_size=25).map("".join)
NOISE = st.sampled_from(["<!-->words<!-->", "<!--->words"]) | st.text(alphabet="<>/!-=\"' abp&;", max_size=60)


class _Structure(HTMLParser):
    """Everything the standard library's parser sees but words."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[object, ...]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        kept = [pair for pair in attrs if pair[0] not in ("title", "alt", "placeholder", "value")]
        self.found.append((tag, kept, sorted(name for name, _ in attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("/", tag))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", data))


def structure(content: str) -> list[tuple[object, ...]]:
    parser = _Structure()
    parser.feed(content)
    parser.close()
    return parser.found


@given(DOCUMENTS | NOISE)
def test_html_comes_back_byte_for_byte(content: str) -> None:
    assert identical(content, "html") == content


@given(DOCUMENTS | NOISE)
def test_the_tokens_and_the_text_between_are_the_source(content: str) -> None:
    position = 0
    for token in html_tokens.tokens(content):
        assert position <= token.start < token.end
        position = token.end

    assert position <= len(content)


@given(DOCUMENTS)
def test_translating_words_keeps_every_tag(content: str) -> None:
    assert structure(translated(content, "html")) == structure(content)


@given(NOISE)
def test_broken_html_is_translated_or_left_but_never_crashes(content: str) -> None:
    assert isinstance(translated(content, "html"), str)


def test_texts_are_divided_by_blocks_and_not_by_inline_tags() -> None:
    content = "<h1>A <b>big</b> day</h1><p>One <i>two</i><p>three<ul><li>four</li><li><a href='/'>five</a></ul>"

    assert sent(content, "html") == ["A ⟦0⟧big⟦1⟧ day", "One ⟦0⟧two⟦1⟧", "three", "four", "five"]


def test_what_readers_do_not_read_is_not_translated() -> None:
    content = """<!doctype html><html><head><title>Title</title><script>var words;</script><style>p {}</style>
<meta name="description" content="Described"><meta name="viewport" content="width"></head><body>
<pre>code</pre><p translate="no">Acme</p><div class="a notranslate">Acme <p>more</p></div>
<textarea>typed</textarea><svg><title>x</title></svg></body>"""

    assert sent(content, "html") == ["Title", "Described"]


def test_code_and_names_inside_a_text_stay_in_it_as_one() -> None:
    content = "<p>Run <code>make <b>all</b></code> for <span translate='no'>Acme</span> now</p>"

    assert sent(content, "html") == ["Run ⟦0⟧ for ⟦1⟧ now"]


def test_attributes_that_are_read_are_translated() -> None:
    content = (
        "<p title='Tip'>Text <img alt=\"A dog\" src='d.png'> end</p><input placeholder=Name value=kept>"
        "<button aria-label='Close it'>x</button><input type=submit value='Send'><a title='' href='title'>y</a>"
    )

    assert translated(content, "html") == (
        "<p title='[es: Ťííƥ]'>[es: Ťééxť <img alt=\"[es: Á đóóĝ]\" src='d.png'> ééñđ]</p>"
        "<input placeholder=\"[es: Ñááméé]\" value=kept><button aria-label='[es: Çļóóšéé ííť]'>[es: x]</button>"
        "<input type=submit value='[es: Šééñđ]'><a title='' href='title'>[es: ý]</a>"
    )


def test_references_are_read_as_characters_and_markup_is_written_as_references() -> None:
    assert sent("<p>Caf&eacute; R&amp;D &quot;x&quot; &lt;b&gt; &#8212;</p>", "html") == [
        'Café R&D "x" ⟦0⟧b⟦1⟧ —',
    ]
    assert sent("<p>&amp;lt; means less</p>", "html") == ["⟦0⟧lt; means less"]
    assert text.parse("<p>x</p>", "html").assemble(["a"]) == "<p>a</p>"


@pytest.mark.parametrize(
    ("quote", "written"),
    [('"', "a &quot;b&quot; 'c' &amp; &lt;"), ("'", 'a "b" &#39;c&#39; &amp; &lt;')],
)
def test_an_attribute_cannot_be_broken_out_of(quote: str, written: str) -> None:
    document = text.parse(f"<img alt={quote}dog{quote}>", "html")

    assert document.assemble([*[s.text for s in document.segments[:-1]], "a \"b\" 'c' & <"]) == (
        f"<img alt={quote}{written}{quote}>"
    )


def test_what_only_looks_like_a_tag_inside_another_one_is_left_alone() -> None:
    dog, kept = "<img alt='dog'>", "<code><img alt='dog'></code>"

    assert translated(f"<p>{dog} and {kept}</p>", "html") == f"<p>[es: <img alt='[es: đóóĝ]'> ááñđ {kept}]</p>"
    assert translated(f"<p>x <a b='c{dog}</p>", "html").count("[es: đóóĝ]") == 0


def test_a_comment_stays_where_it_stands() -> None:
    assert translated("<p>one <!-- two --> three</p><!-- four -->", "html") == (
        "<p>[es: óóñéé <!-- two --> ťĥřéééé]</p><!-- four -->"
    )


def test_a_text_knows_the_headings_above_it() -> None:
    content = "<h1>Guide</h1><h2>Install <b>it</b></h2><p>First</p><h2>Use</h2><p>Then</p>"

    assert [s.heading for s in text.parse(content, "html").segments] == [
        *("", "Guide", "Guide > Install it", "Guide", "Guide > Use"),
    ]


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "<a ",
        "<a b='",
        '<a b="',
        "<!--",
        "<b>",
        "</b>",
        "<code>",
        "<a =",
        "&",
        "&#",
        "<p title='x'>",
        "<a b=",
        "<br>",
        "<b>x</b>",
    ],
)
def test_hostile_html_takes_linear_time(piece: str) -> None:
    content = piece * (200_000 // len(piece))

    assert identical(content, "html") == content


def test_deep_and_many_inline_tags_take_linear_time() -> None:
    deep = "<b>" * 30_000 + "words" + "</b>" * 30_000
    many = "<p>" + "".join(f"<a title='t{number}'>x</a> " for number in range(10_000)) + "</p>"

    assert identical(deep, "html") == deep
    assert translated(many, "html").count("title='[es: ť") == 10_000
