import http.server
import threading
import time

import numpy as np
import pytest

from benchmarks import serving, serving_soak
from benchmarks.claims import load
from benchmarks.serving_model import make_model
from recsys_ssl.serving.recommender import Recommender

# wrk pads units to two letters.
WRK = """Running 10s test @ http://127.0.0.1:8501/recommend
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.21ms    1.03ms  20.11ms   91.20%
    Req/Sec     1.90k   100.00     2.10k    70.00%
  Latency Distribution
     50%  950.00us
     75%    4.50ms
     90%    5.00ms
     99%    1.25s\x20
  19000 requests in 10.00s, 5.00MB read
Requests/sec:   1900.50
Transfer/sec:    512.00KB
"""


def test_what_wrk_tells():
    expected = {"p50": (950 * 1e-3, "ms"), "p99": (1250.0, "ms"), "requests_per_second": (1900.5, "1/s")}
    assert serving.read_wrk(WRK) == expected | {"failed": (0.0, "requests")}
    bad = "  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 10\n"
    told = WRK.replace("Requests/sec", f"{bad}Requests/sec")
    assert serving.read_wrk(told)["failed"] == (17.0, "requests")
    with pytest.raises(ValueError, match="wrk must tell of latency"):
        serving.read_wrk("unable to connect")


def test_a_claim_is_what_was_measured(tmp_path, monkeypatch):
    measured = [serving.Measured("install_gib", "Size", 1.5, "GiB")]
    monkeypatch.setitem(serving._WHAT, "install", lambda options, directory: measured)
    serving.main(["install"], tmp_path)
    (claim,) = load(tmp_path / "serving.json")
    assert (claim.id, claim.value, claim.unit) == ("install_gib", 1.5, "GiB")
    assert claim.command == "python -m benchmarks.serving install"


def test_cpu_seconds_are_those_of_the_process():
    before, own = serving.cpu_seconds(serving.os.getpid()), time.process_time()
    assert abs(before - own) < 0.1


def test_the_made_model_recommends_what_lies_nearest(tmp_path):
    make_model(tmp_path, num_items=60, dim=4)
    recommender = Recommender(tmp_path / "made" / "1")
    taste = np.float32([0.5, -1.0, 2.0, 0.25])
    (answer,) = recommender.recommend({"user": ["u0"], "taste": [taste.tolist()]}, 5)
    scores = recommender.embed_query({"user": ["u0"], "taste": [taste.tolist()]})[0]
    np.testing.assert_allclose(scores, taste / np.linalg.norm(taste), atol=1e-6)
    assert len(set(answer.item_ids)) == 5
    assert answer.scores == sorted(answer.scores, reverse=True)
    assert recommender.recommend_ids(["u7"], 3)[0].flags == ()


def test_growth_is_the_slope_of_the_second_half():
    seconds = np.arange(0.0, 100.0)
    resident = np.where(seconds < 50, 300 + 4 * seconds, 500 + 0.01 * (seconds - 50))
    soaked = serving_soak.Soak(seconds, resident, 10, 0)
    assert serving_soak.growth_mib_per_hour(soaked) == pytest.approx(0.01 * 3600)


def test_memory_is_that_of_the_process():
    before = serving_soak.read_resident_mib(serving.os.getpid())
    held = np.ones(2**23)  # 64 MiB
    assert 60 < serving_soak.read_resident_mib(serving.os.getpid()) - before < 70
    assert held[-1] == 1


def test_a_soak_counts_what_is_answered_otherwise_than_expected():
    """A server that refuses everything: five requests in six should have been answered."""

    class Refuses(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_error(400)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refuses) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        soaked = serving_soak.soak(url, serving.os.getpid(), np.ones((3, 4), np.float32), minutes=0.03)
        server.shutdown()
    assert soaked.requests >= 4
    assert soaked.wrong == pytest.approx(soaked.requests * 5 / 6, abs=4)
    assert (soaked.resident_mib > 1).all()
