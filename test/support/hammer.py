# SPDX-License-Identifier: Apache-2.0
"""Run at a place of a lab: hammer.py PORT PER_SECOND TEXT ADDRESS...

PER_SECOND times begins a TCP connection (one SYN, never finished by us) and sends four UDP datagrams with TEXT, to every
address in turn, until SIGTERM. Then prints how many of both it tried. Errors of single attempts are what is expected.
"""

import itertools
import signal
import socket
import sys
import time

import netns

port, per_second, text = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()
addresses = sys.argv[4:]
udp = {netns.family(address): socket.socket(netns.family(address), socket.SOCK_DGRAM) for address in addresses}
DATAGRAMS = 4  # they cost less than a SYN
datagrams_to = itertools.cycle(addresses)
connecting = []
attempts = 0
is_over = False


def end(*_):
    global is_over
    is_over = True


signal.signal(signal.SIGTERM, end)
print("hammering", flush=True)
for address in itertools.cycle(addresses):
    if is_over:
        break
    for to in itertools.islice(datagrams_to, DATAGRAMS):
        netns.try_send(udp[netns.family(to)], text, to, port)
    tcp = socket.socket(netns.family(address), socket.SOCK_STREAM)
    tcp.setblocking(False)
    try:
        tcp.connect((address, port))
    except OSError:
        pass
    connecting.append(tcp)
    if len(connecting) > 200:
        connecting.pop(0).close()
    attempts += 1 + DATAGRAMS
    time.sleep(1 / per_second)
print(attempts, flush=True)
