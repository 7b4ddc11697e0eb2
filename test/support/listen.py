# SPDX-License-Identifier: Apache-2.0
"""Hears what arrives in network namespaces, from before they have an interface. Each line of input is one of

    listen NAME PATH    from now on in the network namespace at PATH
    leave NAME          no longer there
    heard NAME          by "SENDER > DESTINATION" what has arrived there: how many packets, when the first did (microseconds
                        of the monotonic clock) and the longest time between two of them

and is answered by a line of JSON. SENDER is a UDP datagram's text, of TCP "TCP" and the source address.
"""

import json
import select
import socket
import sys

import netns

ETH_P_ALL = 3
IPV4_UDP, IPV6_UDP = 28, 48  # where a datagram's text begins
listeners = {}  # file descriptor: name, socket
heard = {}  # name: "sender > destination": what has arrived


def sender_of(packet):
    """Whom a UDP or TCP packet is from and for; None of any other."""
    if packet[0] >> 4 == 4:
        of, protocol, source, destination, text = socket.AF_INET, packet[9], packet[12:16], packet[16:20], IPV4_UDP
    else:
        of, protocol, source, destination, text = socket.AF_INET6, packet[6], packet[8:24], packet[24:40], IPV6_UDP
    if protocol not in (socket.IPPROTO_UDP, socket.IPPROTO_TCP):
        return None
    is_udp = protocol == socket.IPPROTO_UDP
    sender = packet[text:].decode(errors="replace") if is_udp else f"TCP {socket.inet_ntop(of, source)}"
    return f"{sender} > {socket.inet_ntop(of, destination)}"


def note(name, key, now):
    known = heard[name].setdefault(key, {"count": 0, "firstUs": now, "lastUs": now, "gapUs": 0})
    known["count"] += 1
    known["gapUs"] = max(known["gapUs"], now - known["lastUs"])
    known["lastUs"] = now


def hear(name, wire):
    try:
        while True:
            packet, (_, protocol, kind, *_) = wire.recvfrom(256)
            if kind == socket.PACKET_OUTGOING or protocol not in (0x0800, 0x86DD):
                continue
            key = sender_of(packet)
            if key:
                note(name, key, netns.now_us())
    except BlockingIOError:
        pass


def listen(name, path):
    wire = netns.socket_in(path, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    listeners[wire.fileno()] = name, wire
    poll.register(wire, select.EPOLLIN)
    heard[name] = {}


def leave(name):
    [(fd, wire)] = [(fd, wire) for fd, (each, wire) in listeners.items() if each == name]
    poll.unregister(fd)
    del listeners[fd]
    wire.close()


def obey(command, name, *path):
    if command == "listen":
        listen(name, *path)
    elif command == "leave":
        leave(name)
    print(json.dumps(heard[name] if command == "heard" else None), flush=True)


poll = select.epoll()
poll.register(sys.stdin, select.EPOLLIN)
while True:
    for fd, _ in poll.poll():
        if fd == sys.stdin.fileno():
            # From the file itself: epoll does not see what Python has read ahead.
            line = sys.stdin.buffer.raw.readline()
            if not line:
                sys.exit()
            obey(*line.decode().split())
        elif fd in listeners:
            hear(*listeners[fd])
