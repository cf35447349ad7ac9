"""The explorer: what the page asks is what the model and the log say, and the page shows it."""

import base64
import html
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from recsys_ssl.encoders.image.pixels import pack
from recsys_ssl.encoders.molecule.graph import to_bytes
from recsys_ssl.encoders.molecule.smiles import featurise
from recsys_ssl.serving import explorer
from recsys_ssl.serving.server import ServerConfig, serving
from recsys_ssl.spec import FeatureSpec

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def get(http, path, **facts):
    answer = http.get(f"/explore/{path}", params=facts)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_page_is_whole_and_runs_nothing_from_elsewhere(http):
    answer = http.get("/explore")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.findall(r"(?:src|href)=|innerHTML", answer.text)


def test_a_model_says_what_it_takes(http):
    found = get(http, "model")
    assert sorted(found.pop("features")) == ["history", "taste", "user"]
    assert found == {"model": "films", "version": 1, "models": ["films"], "num_items": 6000}


def test_queries_begin_with_what_was_typed(http):
    assert get(http, "queries", start="u3")["query_ids"] == ["u3", *(f"u3{digit}" for digit in range(10))]
    assert get(http, "queries", start="u", limit=2)["query_ids"] == ["u0", "u1"]
    assert get(http, "queries", start="nobody")["query_ids"] == []


def test_a_query_is_shown_with_what_it_chose_last_first(http):
    found = get(http, "query", id="u3")
    # It chose 30 to 36, then 37, and in the test 38 before 39; the log keeps three.
    assert [card["id"] for card in found["history"]] == ["film-39", "film-38", "film-37"]
    assert found["features"] == {"user": ["u3"]}
    answer = http.get("/explore/query", params={"id": "nobody"})
    assert (answer.status_code, "has no query 'nobody'" in answer.json()["error"]) == (404, True)


def test_cards_have_titles_and_features_but_no_vectors(http):
    answer = http.post("/explore/items", json={"ids": ["film-20", "no such", "film-7", "film-20"]})
    assert answer.json()["items"] == [
        {
            "id": "film-20",
            "title": "film-20",
            "pictures": {},
            "features": {"genres": ["genre-0", "genre-1"], "year": ["1920"]},
        },
        {"id": "film-7", "title": "Film 7", "pictures": {}, "features": {"genres": ["genre-0"]}},
    ]


@pytest.fixture
def drawn_films(film_spec):
    """Some of the films have a poster and a molecule."""
    features = [{"name": "poster", "kind": "image"}, {"name": "smell", "kind": "molecule"}]
    spec = film_spec.model_dump(mode="json", exclude_unset=True)
    spec["items"]["features"] += features
    poster = pack(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    records = {
        "film-1": {"poster": [poster], "smell": [to_bytes(featurise("CCO"))]},
        "film-2": {"poster": [], "smell": [to_bytes(featurise("c1ccccc1"))]},
        "film-3": {"poster": []},
    }
    find_items = lambda ids: {item: records[item] for item in ids if item in records}  # noqa: E731
    return SimpleNamespace(spec=FeatureSpec.model_validate(spec), find_items=find_items)


def test_content_is_shown_by_pictures(drawn_films):
    cards = explorer.make_cards(drawn_films, ["film-1", "film-2", "film-3", "film-4"])
    found = {card.id: {name: shown.media_type for name, shown in card.pictures.items()} for card in cards}
    assert found == {
        "film-1": {"poster": "image/png", "smell": "image/svg+xml"},
        "film-2": {"smell": "image/svg+xml"},
        "film-3": {},
    }
    assert b"<svg" in base64.b64decode(cards[0].pictures["smell"].base64)


def test_a_server_without_rdkit_shows_no_molecules(drawn_films, monkeypatch):
    explorer._find_drawing.cache_clear()
    explorer._draw.cache_clear()
    monkeypatch.delitem(sys.modules, "recsys_ssl.encoders.molecule.picture", raising=False)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    (card,) = explorer.make_cards(drawn_films, ["film-1"])
    assert list(card.pictures) == ["poster"]
    explorer._find_drawing.cache_clear()
    explorer._draw.cache_clear()


def test_the_nearest_items_are_those_of_the_largest_cosine(http, films):
    cosines = films.vectors @ films.vectors[5]
    cosines[5] = -np.inf
    expected = np.argsort(-cosines)[:4]
    found = get(http, "nearest", id="film-5", k=4)["items"]
    assert [near["card"]["id"] for near in found] == [f"film-{row}" for row in expected]
    np.testing.assert_allclose([near["cosine"] for near in found], cosines[expected], atol=1e-5)
    assert http.get("/explore/nearest", params={"id": "no such"}).status_code == 404


@pytest.mark.parametrize("facts", [{"k": 0}, {"k": "many"}, {}])
def test_a_wrong_question_is_told(http, facts):
    answer = http.get("/explore/nearest", params=facts)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize("body", [b"\xff", b"{", b'{"ids": ["\\ud800"]}', b'{"ids": [1]}', b"[]"])
def test_a_body_that_cannot_be_read_is_told(http, body):
    answer = http.post("/explore/items", content=body, headers={"Content-Type": "application/json"})
    assert list(answer.json()) == (["items"] if b"ud800" in body else ["error"])
    assert answer.status_code == (200 if b"ud800" in body else 400)


def test_the_page_needs_no_key_and_what_it_shows_does(film_model_dir):
    key = "a key of 16 letters"
    config = ServerConfig(film_model_dir, http_port=0, grpc_port=None, api_key=key)
    with serving(config) as running, httpx.Client(base_url=f"http://127.0.0.1:{running.http_port}") as client:
        assert client.get("/explore").status_code == 200
        assert client.get("/explore/model").status_code == 401
        assert client.get("/explore/model", headers={"X-Api-Key": key}).status_code == 200


# --- In a browser ----------------------------------------------------------------------------------------


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
@pytest.mark.parametrize("size", ["1280,900", "390,844"], ids=["desk", "phone"])
def test_the_page_shows_recommendations_and_what_they_share_with_the_past(server, http, tmp_path, size):
    address = f"{server.url}/explore#{'&'.join(['query=u3', 'k=4'])}"
    shown = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"),
            *(f"--window-size={size}", "--virtual-time-budget=20000", "--dump-dom", address),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    ).stdout
    items = http.post("/recommend", json={"query_id": "u3", "k": 4}).json()["items"]
    cards = http.post("/explore/items", json={"ids": [item["id"] for item in items]}).json()["items"]
    for place, (item, card) in enumerate(zip(items, cards, strict=True)):
        assert html.escape(card["title"]) in shown, quote(card["title"])
        assert f"{place + 1} · {item['score']:.3f}" in shown
    assert "genres: genre-0 · in 3 of its last 3" in shown
    assert "Film 39" in shown
    assert '<p id="error" role="alert"></p>' in shown
