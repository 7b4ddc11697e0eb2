# SPDX-License-Identifier: Apache-2.0
"""matrix.py PORTS NAME=NETNS=ADDRESS,ADDRESS...: who reaches whom, each pod being client and server.

Every pod serves TCP and UDP at the ports, separated by commas. Each line of input is a number of cells; it is answered by
a line of JSON, the cells that were reached: "CLIENT SERVER PORT PROTOCOL FAMILY". All are tried, each from a socket of its
own, for QUIET_S and until so many were reached, but no longer than PATIENCE_S.
"""

import json
import select
import socket
import sys
import time

import netns

QUIET_S = 0.4
AGAIN_S = 0.2
PATIENCE_S = 20
ports = [int(port) for port in sys.argv[1].split(",")]
pods = [(name, path, addresses.split(",")) for name, path, addresses in (text.split("=") for text in sys.argv[2:])]
poll = select.epoll()
watched = {}  # file descriptor: socket, what to do when it is ready


def watch(sock, events, ready):
    watched[sock.fileno()] = sock, ready
    poll.register(sock, events)


def forget(sock):
    poll.unregister(sock)
    del watched[sock.fileno()]
    sock.close()


def echo(sock):
    data, client = sock.recvfrom(64)
    sock.sendto(data, client)


def serve(path, address):
    for port in ports:
        tcp = netns.socket_in(path, netns.family(address), socket.SOCK_STREAM)
        tcp.bind((address, port))
        tcp.listen(256)
        watch(tcp, select.EPOLLIN, lambda sock: sock.accept()[0].close())
        udp = netns.socket_in(path, netns.family(address), socket.SOCK_DGRAM)
        udp.bind((address, port))
        watch(udp, select.EPOLLIN, echo)


class Cell:
    """One attempt, which reaches its server or does not."""

    def __init__(self, client, path, server, address, port, protocol):
        of = netns.family(address)
        self.name = f"{client} {server} {port} {protocol} {'IPv6' if of == socket.AF_INET6 else 'IPv4'}"
        self.to = address, port
        self.is_reached = False
        self.is_tcp = protocol == "TCP"
        self.sock = netns.socket_in(path, of, socket.SOCK_STREAM if self.is_tcp else socket.SOCK_DGRAM)
        watch(self.sock, select.EPOLLOUT | select.EPOLLONESHOT if self.is_tcp else select.EPOLLIN, self.ready)
        if self.is_tcp:
            self.sock.connect_ex(self.to)

    def ready(self, sock):
        if self.is_tcp:
            self.is_reached = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        else:
            self.is_reached = bool(sock.recv(64))

    def ask(self):
        if not self.is_tcp and not self.is_reached:
            netns.try_send(self.sock, self.name.encode(), *self.to)


def handle(seconds):
    for fd, _ in poll.poll(seconds):
        if fd in watched:
            sock, ready = watched[fd]
            try:
                ready(sock)
            except OSError:
                pass


def reached(count):
    cells = [
        Cell(client, path, server, address, port, protocol)
        for client, path, _ in pods
        for server, _, addresses in pods
        for address in addresses
        for port in ports
        for protocol in ("TCP", "UDP")
    ]
    began = time.monotonic()
    asked = 0
    while True:
        now = time.monotonic()
        names = [cell.name for cell in cells if cell.is_reached]
        if now - began > (QUIET_S if len(names) >= count else PATIENCE_S):
            break
        if now - asked > AGAIN_S:
            asked = now
            for cell in cells:
                cell.ask()
        handle(0.05)
    for cell in cells:
        forget(cell.sock)
    return names


for _, path, addresses in pods:
    for address in addresses:
        serve(path, address)
for line in sys.stdin:
    print(json.dumps(reached(int(line))), flush=True)
