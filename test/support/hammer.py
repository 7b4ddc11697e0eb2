# SPDX-License-Identifier: Apache-2.0
"""Run at a place of a lab: hammer.py PORT SECONDS PER_SECOND TEXT ADDRESS...

Sends UDP datagrams with TEXT and begins TCP connections (one SYN each, never finished by us) to every address in turn,
until SECONDS have passed. Prints how many of both it tried. Errors of single attempts are what is expected.
"""

import itertools
import socket
import sys
import time

port, seconds, per_second, text = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4].encode()
addresses = sys.argv[5:]


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


udp = {family(address): socket.socket(family(address), socket.SOCK_DGRAM) for address in addresses}
connecting = []
attempts = 0
end = time.monotonic() + seconds
print("hammering", flush=True)
for address in itertools.cycle(addresses):
    if time.monotonic() > end:
        break
    try:
        udp[family(address)].sendto(text, (address, port))
    except OSError:
        pass
    tcp = socket.socket(family(address), socket.SOCK_STREAM)
    tcp.setblocking(False)
    try:
        tcp.connect((address, port))
    except OSError:
        pass
    connecting.append(tcp)
    if len(connecting) > 200:
        connecting.pop(0).close()
    attempts += 1
    time.sleep(1 / per_second)
print(attempts, flush=True)
