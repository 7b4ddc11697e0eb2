// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

// A crash in the middle of an ADD, an absent agent, and requests that make no sense.

// The plugin that was asking when the agent died goes on asking and gets the address that the crash left unanswered.
func TestAddSurvivesTheDeathOfTheAgent(t *testing.T) {
	for _, step := range []string{"wire", "join"} {
		t.Run(step, func(t *testing.T) {
			n := newNode(t)
			n.start(step)
			pod := newNetns(t, "pod")
			list := n.list("1.1.0")
			type answer struct {
				addresses []string
				err       error
			}
			answers := make(chan answer)
			go func() {
				result, err := n.libcni().AddNetworkList(context.Background(), list, container("c1", pod))
				if err != nil {
					answers <- answer{err: err}
					return
				}
				converted, err := types100.NewResultFromResult(result)
				answers <- answer{addresses(converted), err}
			}()
			n.waitFor("hanging")
			n.kill()
			n.start("")
			got := <-answers
			must(t, got.err)
			if !slices.Equal(got.addresses, []string{"10.1.0.1/32", "fd00:1::1/128"}) {
				t.Errorf("addresses %v after the restart", got.addresses)
			}
			must(t, n.libcni().CheckNetworkList(context.Background(), list, container("c1", pod)))
			if links := n.hostLinks(); len(links) != 1 {
				t.Errorf("links %v", links)
			}
		})
	}
}

func TestPodsSurviveARestart(t *testing.T) {
	n := startedNode(t)
	list, rt := n.list("1.1.0"), container("c1", newNetns(t, "pod"))
	n.add(list, rt)
	n.kill()
	n.start("")
	must(t, n.libcni().CheckNetworkList(context.Background(), list, rt))
	_, err := n.libcni().AddNetworkList(context.Background(), list, rt)
	assertCode(t, err, 100)
	second := n.add(list, container("c2", newNetns(t, "second")))
	if got := addresses(second); got[0] != "10.1.0.2/32" {
		t.Errorf("addresses %v", got)
	}
	n.del(list, rt)
	n.del(list, container("c2", ""))
	n.assertClean()
}

func TestAbsentAgent(t *testing.T) {
	n := newNode(t, "10.1.0.1/32")
	pod := newNetns(t, "pod")
	for command, code := range map[string]uint{"ADD": 11, "GC": 11, "STATUS": 50} {
		failure := n.executeFailing(n.config("1.1.0", nil), environment(command, "c1", pod)...)
		if failure.Code != code || failure.CniVersion != "1.1.0" {
			t.Errorf("%s without an agent: %+v", command, failure)
		}
	}
	list, rt := n.list("0.4.0"), container("c2", newNetns(t, "deleted"))
	del := func() { // else no node could be drained whose agent does not start
		t.Helper()
		if exit, output := n.execute(n.config("0.4.0", nil), environment("DEL", "c2", rt.NetNS)...); exit != 0 || len(output) > 0 {
			t.Errorf("DEL without an agent: exit code %d, %s", exit, output)
		}
	}
	del()
	n.start("")
	n.add(list, rt)
	n.kill() // leaves a socket that nobody listens on
	del()
	deleteNetns(t, rt.NetNS) // as the runtime does then
	n.start("")
	n.assertClean()
	next := container("c3", pod)
	n.add(list, next) // with the only address that there is
	n.del(list, next)
	n.kill()
	if failure := n.executeFailing(n.config("0.3.1", nil), environment("ADD", "c1", pod)...); failure.Code != 11 || failure.CniVersion != "0.3.1" {
		t.Errorf("ADD after the agent died: %+v", failure)
	}
}

func TestBadInputLeavesNothing(t *testing.T) {
	n := startedNode(t)
	pod := newNetns(t, "pod")
	valid := environment("ADD", "c1", pod)
	with := func(changes ...string) []string { return append(slices.Clone(valid), changes...) }
	plain := filepath.Join(n.dir, "plain")
	must(t, os.WriteFile(plain, nil, 0o600))
	config := func(extra map[string]any) []byte { return n.config("1.1.0", extra) }
	socket := `"agentSocket":"` + n.socket() + `","agentWaitSeconds":1`

	for name, row := range map[string]struct {
		config      []byte
		environment []string
		code        uint
	}{
		"no command":              {config(nil), []string{"CNI_CONTAINERID=c1"}, 4},
		"unknown command":         {config(nil), with("CNI_COMMAND=ATTACH"), 4},
		"no container":            {config(nil), with("CNI_CONTAINERID="), 4},
		"container is a path":     {config(nil), with("CNI_CONTAINERID=../c1"), 4},
		"container not UTF-8":     {config(nil), with("CNI_CONTAINERID=c\xff"), 6},
		"no interface":            {config(nil), with("CNI_IFNAME="), 4},
		"interface name too long": {config(nil), with("CNI_IFNAME=interface-of-16b"), 4},
		"interface is a path":     {config(nil), with("CNI_IFNAME=a/b"), 4},
		"interface pattern":       {config(nil), with("CNI_IFNAME=eth%d"), 4},
		"interface with quotes":   {config(nil), with("CNI_IFNAME=\"\n\\ "), 4},
		"no netns":                {config(nil), with("CNI_NETNS="), 4},
		"netns is not there":      {config(nil), with("CNI_NETNS=" + pod + "x"), 4},
		"netns is relative":       {config(nil), with("CNI_NETNS=run/netns/x"), 4},
		"netns is a file":         {config(nil), with("CNI_NETNS=" + plain), 4},
		"netns is a directory":    {config(nil), with("CNI_NETNS=" + n.dir), 4},
		"netns is the node's own": {config(nil), with("CNI_NETNS=" + n.netns), 4},
		"netns too long":          {config(nil), with("CNI_NETNS=/" + strings.Repeat("x", 5000)), 4},
		"variable too long":       {config(nil), with("CNI_ARGS=" + strings.Repeat("x", 70000)), 4},
		"arguments":               {config(nil), with("CNI_ARGS=IgnoreUnknown"), 4},
		"unknown argument":        {config(nil), with("CNI_ARGS=IP=192.0.2.1"), 4},
		"pod name":                {config(nil), with("CNI_ARGS=K8S_POD_NAME=a b"), 4},
		"cut JSON":                {[]byte(`{` + socket + `,"cniVersion":"1.1.0"`), valid, 6},
		"JSON, but no object":     {[]byte(`{` + socket + `}[]`), valid, 6},
		"no version":              {[]byte(`{` + socket + `,"name":"heddle"}`), valid, 1},
		"old version":             {n.config("0.2.0", nil), valid, 1},
		"future version":          {n.config("2.0.0", nil), valid, 1},
		"version is no text":      {[]byte(`{` + socket + `,"cniVersion":1,"name":"heddle"}`), valid, 1},
		"no name":                 {config(map[string]any{"name": ""}), valid, 7},
		"name is a path":          {config(map[string]any{"name": "../x"}), valid, 7},
		"other IPAM":              {config(map[string]any{"ipam": map[string]any{"type": "host-local"}}), valid, 2},
		"dns":                     {config(map[string]any{"dns": []string{"x"}}), valid, 7},
		"prevResult":              {config(map[string]any{"prevResult": []int{1}}), valid, 7},
		"prevResult's interface":  {config(map[string]any{"prevResult": map[string]any{"ips": []any{map[string]any{"address": "10.0.0.1/8", "interface": 3}}}}), valid, 7},
		"relative socket":         {config(map[string]any{"agentSocket": "cni.sock"}), valid, 7},
		"socket too long":         {config(map[string]any{"agentSocket": "/" + strings.Repeat("x", 200)}), valid, 7},
		"socket is no text":       {config(map[string]any{"agentSocket": 7}), valid, 7},
		"endless wait":            {config(map[string]any{"agentWaitSeconds": 1e9}), valid, 7},
		"too much":                {config(map[string]any{"x": strings.Repeat("x", 1<<20)}), valid, 7},
		"GC of old":               {n.config("1.0.0", nil), with("CNI_COMMAND=GC"), 1},
		"CHECK of old":            {n.config("0.3.1", nil), with("CNI_COMMAND=CHECK"), 1},
		"GC list":                 {config(map[string]any{"cni.dev/valid-attachments": "c1"}), with("CNI_COMMAND=GC"), 7},
	} {
		t.Run(name, func(t *testing.T) {
			if failure := n.executeFailing(row.config, row.environment...); failure.Code != row.code {
				t.Errorf("%+v, want code %d", failure, row.code)
			}
		})
	}
	n.assertClean()
	n.kill()
	n.pools = []string{"10.1.0.0/30"}
	n.start("")
	if got := addresses(n.add(n.list("1.1.0"), container("c1", pod))); got[0] != "10.1.0.1/32" {
		t.Errorf("the first address of the pool was not free: %v", got)
	}
}

// The kind of a namespace is seen when it is entered, with the address taken; it must come back.
func TestNamespaceOfAnotherKind(t *testing.T) {
	n := startedNode(t, "10.1.0.8/32")
	n.executeFailing(n.config("1.1.0", nil), environment("ADD", "c1", "/proc/self/ns/mnt")...)
	n.assertClean()
	n.add(n.list("1.1.0"), container("c1", newNetns(t, "pod")))
}
