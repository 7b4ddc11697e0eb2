// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
)

// libcni is what containerd and CRI-O call.

var versions = []string{"0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

func (n *node) libcni() *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir([]string{binDir}, filepath.Join(n.dir, "cache"), nil)
}

// list is the network as an administrator writes it; plugins come after ours.
func (n *node) list(version string, plugins ...string) *libcni.NetworkConfigList {
	n.t.Helper()
	own := fmt.Sprintf(`{"type": "heddle-cni", "agentSocket": %q, "agentWaitSeconds": 20}`, n.socket())
	text := fmt.Sprintf(`{"cniVersion": %q, "name": "heddle", "plugins": [%s]}`, version,
		strings.Join(append([]string{own}, plugins...), ","))
	list, err := libcni.ConfListFromBytes([]byte(text))
	must(n.t, err)
	return list
}

func container(id, netns string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: id, NetNS: netns, IfName: "eth0", Args: [][2]string{
		{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "shop"}, {"K8S_POD_NAME", id}, {"K8S_POD_UID", "1b4e28ba"},
	}}
}

func (n *node) add(list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) *types100.Result {
	n.t.Helper()
	result, err := n.libcni().AddNetworkList(context.Background(), list, rt)
	must(n.t, err)
	converted, err := types100.NewResultFromResult(result)
	must(n.t, err)
	return converted
}

func (n *node) del(list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) {
	n.t.Helper()
	must(n.t, n.libcni().DelNetworkList(context.Background(), list, rt))
}

// assertCode: the error that the plugin printed, as a runtime sees it.
func assertCode(t *testing.T, err error, code uint) *types.Error {
	t.Helper()
	var failure *types.Error
	if !errors.As(err, &failure) || failure.Code != code {
		t.Fatalf("got %v, want an error with code %d", err, code)
	}
	return failure
}

func addresses(result *types100.Result) []string {
	var texts []string
	for _, ip := range result.IPs {
		texts = append(texts, ip.Address.String())
	}
	return texts
}

func TestEveryVersion(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			n := startedNode(t)
			pod := newNetns(t, "pod")
			list, rt := n.list(version), container("c1", pod)

			raw, err := n.libcni().AddNetworkList(context.Background(), list, rt)
			must(t, err)
			if raw.Version() != version {
				t.Errorf("the result is of version %s", raw.Version())
			}
			result, err := types100.NewResultFromResult(raw)
			must(t, err)
			if got := addresses(result); !slices.Equal(got, []string{"10.1.0.1/32", "fd00:1::1/128"}) {
				t.Errorf("addresses %v", got)
			}
			assertPodMatches(t, result, pod)
			if version >= "0.4.0" {
				must(t, n.libcni().CheckNetworkList(context.Background(), list, rt))
			}
			n.del(list, rt)
			n.assertClean()
		})
	}
}

// assertPodMatches: what the result says is in the pod's namespace.
func assertPodMatches(t *testing.T, result *types100.Result, pod string) {
	t.Helper()
	index := *result.IPs[0].Interface
	stated := result.Interfaces[index]
	if stated.Sandbox != pod || stated.Name != "eth0" {
		t.Errorf("the addresses are said to be on %v", stated)
	}
	inNetns(t, pod, func() {
		link, err := netlink.LinkByName("eth0")
		must(t, err)
		if link.Attrs().HardwareAddr.String() != stated.Mac {
			t.Errorf("MAC %s, stated %s", link.Attrs().HardwareAddr, stated.Mac)
		}
		found, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		must(t, err)
		for _, ip := range result.IPs {
			if !slices.ContainsFunc(found, func(addr netlink.Addr) bool { return addr.IPNet.String() == ip.Address.String() }) {
				t.Errorf("%s is not on eth0: %v", ip.Address.String(), found)
			}
		}
		for _, route := range result.Routes {
			routes, err := netlink.RouteGet(sampleOf(route.Dst))
			must(t, err)
			if !routes[0].Gw.Equal(route.GW) {
				t.Errorf("%s goes to %s, stated %s", route.Dst.String(), routes[0].Gw, route.GW)
			}
		}
	})
}

func sampleOf(prefix net.IPNet) net.IP {
	if prefix.IP.To4() != nil {
		return net.ParseIP("192.0.2.1")
	}
	return net.ParseIP("2001:db8::1")
}

func TestVersionNeedsNoAgent(t *testing.T) {
	n := newNode(t)
	info, err := n.libcni().GetVersionInfo(context.Background(), "heddle-cni")
	must(t, err)
	if !slices.Equal(info.SupportedVersions(), versions) {
		t.Errorf("supported versions %v", info.SupportedVersions())
	}
}

// client 192.0.2.2 ---- 192.0.2.1:8080 node ---- 10.1.0.1:80 pod
func TestPortmapAfterUs(t *testing.T) {
	n := startedNode(t)
	pod, client := newNetns(t, "pod"), newNetns(t, "client")
	command(t, "ip", "-n", filepath.Base(n.netns), "link", "add", "uplink", "type", "veth",
		"peer", "name", "eth0", "netns", filepath.Base(client))
	for netns, link := range map[string]string{n.netns: "uplink 192.0.2.1/24", client: "eth0 192.0.2.2/24"} {
		name, address, _ := strings.Cut(link, " ")
		command(t, "ip", "-n", filepath.Base(netns), "addr", "add", address, "dev", name)
		command(t, "ip", "-n", filepath.Base(netns), "link", "set", name, "up")
	}
	command(t, "nsenter", "--net="+n.netns, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

	list := n.list("1.0.0", `{"type": "portmap", "capabilities": {"portMappings": true}, "backend": "iptables"}`)
	rt := container("c1", pod)
	rt.CapabilityArgs = map[string]any{
		"portMappings": []map[string]any{{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}},
	}
	inNetns(t, n.netns, func() {
		result := n.add(list, rt)
		if got := addresses(result); !slices.Equal(got, []string{"10.1.0.1/32", "fd00:1::1/128"}) {
			t.Errorf("addresses %v after portmap", got)
		}
		must(t, n.libcni().CheckNetworkList(context.Background(), list, rt))
	})

	serve(t, pod, "10.1.0.1:80", "from the pod")
	if said, err := ask(t, client, "192.0.2.1:8080"); err != nil || said != "from the pod" {
		t.Errorf("the mapped port said %q, %v", said, err)
	}
	inNetns(t, n.netns, func() { n.del(list, rt) })
	if said, err := ask(t, client, "192.0.2.1:8080"); err == nil {
		t.Errorf("the port is still mapped after DEL: %q", said)
	}
}

// serve says `text` to one client.
func serve(t *testing.T, netns, address, text string) {
	t.Helper()
	inNetns(t, netns, func() {
		listener, err := net.Listen("tcp4", address)
		must(t, err)
		t.Cleanup(func() { listener.Close() })
		go func() {
			if conn, err := listener.Accept(); err == nil {
				_, _ = conn.Write([]byte(text))
				conn.Close()
			}
		}()
	})
}

func ask(t *testing.T, netns, address string) (said string, err error) {
	t.Helper()
	inNetns(t, netns, func() {
		conn, dialErr := net.DialTimeout("tcp4", address, 5*time.Second)
		if dialErr != nil {
			err = dialErr
			return
		}
		defer conn.Close()
		bytes, readErr := io.ReadAll(conn)
		said, err = string(bytes), readErr
	})
	return said, err
}

func TestPreviousResultIsPassedOn(t *testing.T) {
	n := startedNode(t)
	pod := newNetns(t, "pod")
	for _, version := range versions {
		ip := map[string]any{"address": "192.0.2.9/24", "interface": 0}
		if version < "1.0.0" {
			ip["version"] = "4"
		}
		config := n.config(version, map[string]any{"prevResult": map[string]any{
			"cniVersion": version,
			"interfaces": []any{map[string]any{"name": "net1", "sandbox": pod}},
			"ips":        []any{ip},
			"routes":     []any{map[string]any{"dst": "192.0.2.0/24"}},
			"dns":        map[string]any{"nameservers": []string{"192.0.2.53"}},
		}})
		code, out := n.execute(config, environment("ADD", "c1", pod)...)
		if code != 0 {
			t.Fatalf("%s: %s", version, out)
		}
		result, err := types100.NewResult(rewriteVersion(t, out))
		must(t, err)
		merged, err := types100.GetResult(result)
		must(t, err)
		if len(merged.Interfaces) != 3 || merged.Interfaces[0].Name != "net1" {
			t.Errorf("%s: interfaces %v", version, merged.Interfaces)
		}
		if merged.IPs[0].Address.String() != "192.0.2.9/24" || *merged.IPs[0].Interface != 0 || *merged.IPs[1].Interface != 2 {
			t.Errorf("%s: ips %v", version, merged.IPs)
		}
		if len(merged.Routes) != 3 || merged.DNS.Nameservers[0] != "192.0.2.53" {
			t.Errorf("%s: routes %v, dns %v", version, merged.Routes, merged.DNS)
		}
		n.execute(n.config(version, nil), environment("DEL", "c1", pod)...)
	}
}

// What does not fit into the plugin's own room for an ordinary request or reply arrives whole all the same.
func TestLongRequestsAndReplies(t *testing.T) {
	n := startedNode(t)
	pod := newNetns(t, "pod")
	for _, length := range []int{1000, 2000, 3500, 4096, 5000, 16384, 200000} {
		note := strings.Repeat("\"", length)
		config := n.config("1.1.0", map[string]any{"prevResult": map[string]any{
			"cniVersion": "1.1.0", "interfaces": []any{map[string]any{"name": "net1", "note": note}},
		}})
		code, out := n.execute(config, environment("ADD", "c1", pod)...)
		var result struct{ Interfaces []struct{ Note string } }
		if err := json.Unmarshal(out, &result); err != nil || code != 0 || result.Interfaces[0].Note != note {
			t.Errorf("%d: exit code %d, %d bytes of output, %v", length, code, len(out), err)
		}
		n.execute(n.config("1.1.0", nil), environment("DEL", "c1", pod)...)
	}
}

// rewriteVersion lets one decoder read the result of each version; what differs is asserted by TestEveryVersion.
func rewriteVersion(t *testing.T, out []byte) []byte {
	t.Helper()
	var result map[string]any
	must(t, json.Unmarshal(out, &result))
	result["cniVersion"] = "1.1.0"
	text, err := json.Marshal(result)
	must(t, err)
	return text
}

func TestAnsweredAddRepeatedIsAnError(t *testing.T) {
	n := startedNode(t)
	pod := newNetns(t, "pod")
	list, rt := n.list("1.1.0"), container("c1", pod)
	result := n.add(list, rt)
	_, err := n.libcni().AddNetworkList(context.Background(), list, rt)
	assertCode(t, err, 100)
	assertPodMatches(t, result, pod)
}

func TestForeignInterfaceStays(t *testing.T) {
	n := startedNode(t)
	pod := newNetns(t, "pod")
	inNetns(t, pod, func() {
		must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}}))
	})
	_, err := n.libcni().AddNetworkList(context.Background(), n.list("1.1.0"), container("c1", pod))
	assertCode(t, err, 101)
	inNetns(t, pod, func() {
		link, err := netlink.LinkByName("eth0")
		must(t, err)
		if link.Type() != "bridge" {
			t.Errorf("eth0 is now a %s", link.Type())
		}
	})
	n.assertClean()
}

func TestDelIsIdempotent(t *testing.T) {
	n := startedNode(t)
	pod := newNetns(t, "pod")
	list, rt := n.list("1.1.0"), container("c1", pod)
	n.del(list, container("never", pod))
	n.add(list, rt)
	n.del(list, rt)
	n.del(list, rt)
	n.assertClean()
}

func TestDelWhenTheNamespaceIsGone(t *testing.T) {
	n := startedNode(t, "10.1.0.8/32")
	pod := newNetns(t, "pod")
	list, rt := n.list("1.1.0"), container("c1", pod)
	n.add(list, rt)
	deleteNetns(t, pod)
	n.del(list, rt)
	n.assertClean()
	// Its only address can be given again.
	n.add(list, container("c2", newNetns(t, "next")))
}

func TestExhaustionNamesThePool(t *testing.T) {
	n := startedNode(t, "10.1.0.0/30", "fd00:1::/64")
	list := n.list("1.1.0")
	for i := range 2 {
		n.add(list, container(fmt.Sprintf("c%d", i), newNetns(t, fmt.Sprintf("pod%d", i))))
	}
	pod := newNetns(t, "pod")
	_, err := n.libcni().AddNetworkList(context.Background(), list, container("c2", pod))
	failure := assertCode(t, err, 102)
	if !strings.Contains(failure.Msg, "10.1.0.0/30") {
		t.Errorf("%q does not name the pool", failure.Msg)
	}
}

func TestCheckSeesWhatIsMissing(t *testing.T) {
	for name, damage := range map[string][]string{
		"address": {"addr", "del", "10.1.0.1/32", "dev", "eth0"},
		"route":   {"-6", "route", "del", "default"},
		"down":    {"link", "set", "eth0", "down"},
		"link":    {"link", "del", "eth0"},
	} {
		t.Run(name, func(t *testing.T) {
			n := startedNode(t)
			pod := newNetns(t, "pod")
			rt := container("c1", pod)
			n.add(n.list("1.1.0"), rt)
			command(t, "ip", append([]string{"-n", filepath.Base(pod)}, damage...)...)
			assertCode(t, n.libcni().CheckNetworkList(context.Background(), n.list("1.1.0"), rt), 103)
		})
	}
	n := startedNode(t)
	pod := newNetns(t, "pod")
	previous := map[string]any{"prevResult": map[string]any{"cniVersion": "1.1.0"}}
	if failure := n.executeFailing(n.config("1.1.0", previous), environment("CHECK", "never", pod)...); failure.Code != 3 {
		t.Errorf("CHECK of what never existed: %v", failure)
	}
}

func TestGarbageCollection(t *testing.T) {
	n := startedNode(t)
	list := n.list("1.1.0")
	keep, stale := container("keep", newNetns(t, "keep")), container("stale", newNetns(t, "stale"))
	n.add(list, keep)
	n.add(list, stale)
	// Without a cache libcni does not DEL by itself: GC has to do it.
	must(t, os.RemoveAll(filepath.Join(n.dir, "cache")))
	valid := []types.GCAttachment{{ContainerID: "keep", IfName: "eth0"}}
	must(t, n.libcni().GCNetworkList(context.Background(), list, &libcni.GCArgs{ValidAttachments: valid}))
	if links := n.hostLinks(); len(links) != 1 {
		t.Errorf("links after GC: %v", links)
	}
	must(t, n.libcni().GCNetworkList(context.Background(), list, nil))
	if links := n.hostLinks(); len(links) != 1 {
		t.Errorf("links after a GC that named nothing: %v", links)
	}
	must(t, n.libcni().GCNetworkList(context.Background(), list, &libcni.GCArgs{}))
	n.assertClean()
}

func TestStatus(t *testing.T) {
	n := startedNode(t)
	must(t, n.libcni().GetStatusNetworkList(context.Background(), n.list("1.1.0")))
	n.kill()
	assertCode(t, n.libcni().GetStatusNetworkList(context.Background(), n.list("1.1.0")), 50)
}

func TestManyAtOnce(t *testing.T) {
	const count = 24
	n := startedNode(t)
	list := n.list("1.1.0")
	given := make([][]string, count)
	var wait sync.WaitGroup
	for i := range count {
		pod := newNetns(t, fmt.Sprintf("pod%d", i))
		wait.Add(1)
		go func() {
			defer wait.Done()
			result, err := n.libcni().AddNetworkList(context.Background(), list, container(fmt.Sprintf("c%d", i), pod))
			if err != nil {
				t.Error(err)
				return
			}
			converted, _ := types100.NewResultFromResult(result)
			given[i] = addresses(converted)
		}()
	}
	wait.Wait()
	seen := map[string]bool{}
	for _, address := range slices.Concat(given...) {
		if seen[address] {
			t.Errorf("%s was given twice", address)
		}
		seen[address] = true
	}
	if len(seen) != 2*count {
		t.Errorf("%d addresses for %d pods", len(seen), count)
	}
}

// cnitool caches under /var/lib/cni; a private mount keeps that off this machine.
func TestCnitool(t *testing.T) {
	n := startedNode(t)
	pod := newNetns(t, "pod")
	confDir := filepath.Join(n.dir, "net.d")
	must(t, os.Mkdir(confDir, 0o755))
	must(t, os.WriteFile(filepath.Join(confDir, "10-heddle.conflist"), n.list("1.1.0").Bytes, 0o644))
	script := `set -eu
mount -t tmpfs tmpfs /var/lib
for command in add check status del gc; do echo "$command"; "$1/cnitool" $command heddle "$2"; done`
	tool := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", binDir, pod)
	tool.Env = []string{"CNI_PATH=" + binDir, "NETCONFPATH=" + confDir, "PATH=" + os.Getenv("PATH")}
	out, err := tool.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"address": "10.1.0.1/32"`) {
		t.Fatalf("%v\n%s", err, out)
	}
	n.assertClean()
}
