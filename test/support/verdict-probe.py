# SPDX-License-Identifier: Apache-2.0
"""Run in a pod: verdict-probe.py PORT NAME=NETNS=ADDRESS...

Sends two datagrams to each target every 2 ms, one from a socket that is kept (a flow that is known), one from a socket of its
own (a first packet); both are received in the target's network namespace. Each line of input is a time, answered by a
line of JSON: the time now and, by "NAME kept" and "NAME new", when the first and the last datagram were sent of
those that were sent since and have arrived. Times are microseconds of the monotonic clock.
"""

import json
import select
import socket
import struct
import sys

import netns

TICK_US = 2_000
KINDS = {b"k": "kept", b"n": "new"}
port = int(sys.argv[1])
targets = [argument.split("=") for argument in sys.argv[2:]]
kept = {of: socket.socket(of, socket.SOCK_DGRAM) for of in (socket.AF_INET, socket.AF_INET6)}
receivers = {}  # socket: name
arrived = {}  # probe: when they were sent

for name, path, address in targets:
    receiver = netns.socket_in(path, netns.family(address), socket.SOCK_DGRAM)
    receiver.bind((address, port))
    receivers[receiver] = name
    for kind in KINDS.values():
        arrived[f"{name} {kind}"] = []


def send():
    stamp = struct.pack("<Q", netns.now_us())
    for _, _, address in targets:
        of = netns.family(address)
        netns.try_send(kept[of], b"k" + stamp, address, port)
        with socket.socket(of, socket.SOCK_DGRAM) as new:
            netns.try_send(new, b"n" + stamp, address, port)


def receive(receiver):
    try:
        while True:
            data = receiver.recv(64)
            probe = f"{receivers[receiver]} {KINDS[data[:1]]}"
            arrived[probe].append(struct.unpack("<Q", data[1:9])[0])
    except BlockingIOError:
        pass


def answer(since):
    probes = {}
    for probe, times in arrived.items():
        times[:] = [time for time in times if time >= since]
        probes[probe] = {"firstUs": min(times, default=None), "lastUs": max(times, default=None)}
    print(json.dumps({"nowUs": netns.now_us(), "probes": probes}), flush=True)


due = 0
while True:
    if netns.now_us() >= due:
        send()
        due = netns.now_us() + TICK_US
    ready, _, _ = select.select([sys.stdin, *receivers], [], [], max(0, due - netns.now_us()) / 1e6)
    for each in ready:
        if each is not sys.stdin:
            receive(each)
    if sys.stdin in ready:
        line = sys.stdin.readline()
        if not line:
            break
        answer(int(line))
