"""The load generator against a small server whose responses, pauses and errors are known."""

import os
import socket
import socketserver
import threading
import time
from dataclasses import replace

import pytest

from proofs.benchmarks.generator import ClosedLoop, FixedRate, Generator, Stream, run_closed_loop, run_fixed_rate
from proofs.benchmarks.wire import LoadError, request
from proofs.load.report import percentile

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 3\r\n\r\nno!"


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while head := self._read():
            self.server.received.append(head)
            self.server.answer(self.request, head)

    def _read(self):
        text = b""
        while not text.endswith(b"\r\n\r\n"):
            got = self.request.recv(4096)
            if not got:
                return b""
            text += got
        return text


@pytest.fixture
def serve():
    opened = []

    def start(answer):
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.answer, server.received = answer, []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        opened.append(server)
        return server

    yield start
    for server in opened:
        server.shutdown()
        server.server_close()


def by_credentials(connection, head):
    connection.sendall(OK if b"Authorization: right" in head else NO)


def in_pieces(connection, _head):
    for piece in (OK[:9], OK[9:30], OK[30:-1], OK[-1:]):
        connection.sendall(piece)
        time.sleep(0.002)


def test_closed_loop_counts_every_response_once(serve):
    server = serve(by_credentials)
    load = run_closed_loop(ClosedLoop(server.server_address[1], (request("/", "right"),), 200, 3, 0.2))
    assert len(load.times[0]) == len(server.received) > 3
    assert load.seconds >= 0.2
    assert all(0 < taken < 5 for taken in load.times[0])


def test_closed_loop_has_one_request_for_each_connection(serve):
    server = serve(by_credentials)
    requests = tuple(request(f"/{number}", "right") for number in range(3))
    run_closed_loop(ClosedLoop(server.server_address[1], requests, 200, 3, 0.1))
    assert set(server.received) == set(requests)


def test_response_in_pieces_is_read_whole(serve):
    server = serve(in_pieces)
    load = run_closed_loop(ClosedLoop(server.server_address[1], (request("/", "right"),), 200, 2, 0.1))
    assert len(load.times[0]) == len(server.received)


def test_another_status_raises_load_error(serve):
    port = serve(by_credentials).server_address[1]
    with pytest.raises(LoadError, match=r"200 was expected, not .* 401 Unauthorized"):
        run_closed_loop(ClosedLoop(port, (request("/", "wrong"),), 200, 1, 0.1))


def test_closed_connection_raises_load_error(serve):
    port = serve(lambda connection, _: connection.shutdown(socket.SHUT_RDWR)).server_address[1]
    with pytest.raises(LoadError, match="closed a connection"):
        run_closed_loop(ClosedLoop(port, (request("/", "right"),), 200, 1, 0.1))


def test_streams_have_their_rates_and_statuses(serve):
    server = serve(by_credentials)
    streams = (
        Stream((request("/", "wrong"),), 401, 200, 4),
        Stream((request("/", "right"),), 200, 50, 2),
    )
    load = run_fixed_rate(FixedRate(server.server_address[1], streams, 0.5, seed=1))
    assert [len(times) for times in load.times] == [100, 25]
    assert len(server.received) == 125
    assert 0.4 < load.seconds < 5


def test_stalled_server_counts_from_when_requests_were_due(serve):
    """Requests fall due while the server hangs; their time runs from then, not from when they could be sent."""
    pauses = iter([0.4])

    def answer(connection, head):
        time.sleep(next(pauses, 0))
        by_credentials(connection, head)

    port = serve(answer).server_address[1]
    load = run_fixed_rate(FixedRate(port, (Stream((request("/", "right"),), 200, 100, 1),), 0.6, seed=1))
    assert len(load.times[0]) == 60
    assert sum(taken > 0.1 for taken in load.times[0]) >= 20
    assert percentile(load.times[0], 0.99) > 0.3


def test_cpu_is_that_of_the_given_processes(serve):
    port = serve(by_credentials).server_address[1]
    job = ClosedLoop(port, (request("/", "right"),), 200, 1, 0.2)
    with Generator() as generator:
        mine = generator.run(replace(job, pids=(os.getpid(),)))
        none = generator.run(job)
    assert mine.cpu > 0  # the server is a thread of this process
    assert none.cpu == 0


def test_generator_reports_an_error_and_goes_on(serve):
    port = serve(by_credentials).server_address[1]
    with Generator() as generator:
        with pytest.raises(LoadError, match="was expected"):
            generator.run(ClosedLoop(port, (request("/", "wrong"),), 200, 1, 0.1))
        with pytest.raises(LoadError, match="ConnectionRefusedError"):
            generator.run(ClosedLoop(unused_port(), (request("/", "right"),), 200, 1, 0.1))
        assert generator.run(ClosedLoop(port, (request("/", "right"),), 200, 1, 0.1)).times[0]


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
