"""The load generator against a small server whose answers, pauses and faults are known."""

import os
import socket
import socketserver
import threading
import time

import pytest

from proofs.benchmarks.generator import Closed, Generator, Open, Stream, closed, paced
from proofs.benchmarks.wire import LoadError, request
from proofs.load.report import percentile

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NO = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 3\r\n\r\nno!"


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        while head := self._read():
            self.server.asked.append(head)
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
        server.answer, server.asked = answer, []
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


def test_every_answer_is_counted_once(serve):
    server = serve(by_credentials)
    load = closed(Closed(server.server_address[1], (request("/", "right"),), 200, 3, 0.2))
    assert len(load.times[0]) == len(server.asked) > 3
    assert load.seconds >= 0.2
    assert all(0 < taken < 5 for taken in load.times[0])


def test_each_connection_has_a_request_of_its_own(serve):
    server = serve(by_credentials)
    asked = tuple(request(f"/{number}", "right") for number in range(3))
    closed(Closed(server.server_address[1], asked, 200, 3, 0.1))
    assert set(server.asked) == set(asked)


def test_an_answer_may_come_in_pieces(serve):
    server = serve(in_pieces)
    load = closed(Closed(server.server_address[1], (request("/", "right"),), 200, 2, 0.1))
    assert len(load.times[0]) == len(server.asked)


def test_another_status_measures_nothing(serve):
    port = serve(by_credentials).server_address[1]
    with pytest.raises(LoadError, match=r"200 was expected, not .* 401 Unauthorized"):
        closed(Closed(port, (request("/", "wrong"),), 200, 1, 0.1))


def test_a_closed_connection_measures_nothing(serve):
    port = serve(lambda connection, _: connection.shutdown(socket.SHUT_RDWR)).server_address[1]
    with pytest.raises(LoadError, match="closed a connection"):
        closed(Closed(port, (request("/", "right"),), 200, 1, 0.1))


def test_streams_keep_their_rates_and_their_statuses(serve):
    server = serve(by_credentials)
    streams = (
        Stream((request("/", "wrong"),), 401, 200, 4),
        Stream((request("/", "right"),), 200, 50, 2),
    )
    load = paced(Open(server.server_address[1], streams, 0.5, seed=1))
    assert [len(times) for times in load.times] == [100, 25]
    assert len(server.asked) == 125
    assert 0.4 < load.seconds < 5


def test_a_server_that_stalls_hides_nothing(serve):
    """While it hangs, requests fall due all the same: their time runs from then, not from when they could be sent."""
    stalls = iter([0.4])

    def answer(connection, head):
        time.sleep(next(stalls, 0))
        by_credentials(connection, head)

    port = serve(answer).server_address[1]
    load = paced(Open(port, (Stream((request("/", "right"),), 200, 100, 1),), 0.6, seed=1))
    assert len(load.times[0]) == 60
    assert sum(taken > 0.1 for taken in load.times[0]) >= 20
    assert percentile(load.times[0], 0.99) > 0.3


def test_cpu_is_that_of_the_processes_that_are_named(serve):
    port = serve(by_credentials).server_address[1]
    job = Closed(port, (request("/", "right"),), 200, 1, 0.2)
    with Generator() as generator:
        mine = generator.run(Closed(*vars_of(job), pids=(os.getpid(),)))
        nobody = generator.run(job)
    assert mine.cpu > 0  # the server is a thread of this process
    assert nobody.cpu == 0


def vars_of(job):
    return job.port, job.requests, job.status, job.connections, job.seconds


def test_a_fault_in_the_generators_process_is_told_and_it_lives_on(serve):
    port = serve(by_credentials).server_address[1]
    with Generator() as generator:
        with pytest.raises(LoadError, match="was expected"):
            generator.run(Closed(port, (request("/", "wrong"),), 200, 1, 0.1))
        with pytest.raises(LoadError, match="ConnectionRefusedError"):
            generator.run(Closed(unused_port(), (request("/", "right"),), 200, 1, 0.1))
        assert generator.run(Closed(port, (request("/", "right"),), 200, 1, 0.1)).times[0]


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
