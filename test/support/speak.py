# SPDX-License-Identifier: Apache-2.0
"""speak.py PORT: sends datagrams out of network namespaces, each with its sender's name. Each line of input is one of

    NAME PATH ADDRESS...    from now on the network namespace at PATH sends to each address every 50 ms, from before it has
                            an address of its own
    NAME                    it does so no longer

and is answered by an empty line.
"""

import select
import socket
import sys

import netns

TICK_US = 50_000
port = int(sys.argv[1])
speakers = {}  # name: sockets by family, addresses


def obey(words):
    name, *rest = words
    for each in speakers.pop(name, ({}, []))[0].values():
        each.close()
    if rest:
        path, *addresses = rest
        families = {netns.family(address) for address in addresses}
        speakers[name] = {of: netns.socket_in(path, of, socket.SOCK_DGRAM) for of in families}, addresses
    print(flush=True)


def speak():
    for name, (sockets, addresses) in speakers.items():
        for address in addresses:
            netns.try_send(sockets[netns.family(address)], name.encode(), address, port)


due = netns.now_us()
while True:
    # From the file itself: select does not see what Python has read ahead.
    ready, _, _ = select.select([sys.stdin.buffer.raw], [], [], max(0, due - netns.now_us()) / 1e6)
    if ready:
        line = sys.stdin.buffer.raw.readline()
        if not line:
            break
        obey(line.decode().split())
    if netns.now_us() >= due:
        speak()
        due = max(due + TICK_US, netns.now_us())
