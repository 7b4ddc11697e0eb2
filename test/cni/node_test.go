// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
)

// The tests' world: a node and pods, each a network namespace named hdc-PID-..., the built heddle-cni, and a process with
// the real CNI server, addresses and veth pairs (test/support/cni-node.ts).

var (
	checkout = filepath.Join("..", "..")
	prefix   = fmt.Sprintf("hdc-%d-", os.Getpid())
	binDir   string // heddle-cni, cnitool, portmap
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	runtime.LockOSThread()
	defer removeNamespaces()
	dir, err := os.MkdirTemp("", "heddle-cni-test-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	binDir = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-o", binDir+"/", "github.com/containernetworking/cni/cnitool",
		"github.com/containernetworking/plugins/plugins/meta/portmap")
	if out, err := build.CombinedOutput(); err != nil {
		return fail(fmt.Errorf("go build: %v\n%s", err, out))
	}
	shim, err := os.ReadFile(filepath.Join(checkout, "build", "heddle-cni"))
	if err != nil {
		return fail(fmt.Errorf("%v: run `make build` first", err))
	}
	if err := os.WriteFile(filepath.Join(binDir, "heddle-cni"), shim, 0o755); err != nil {
		return fail(err)
	}
	return m.Run()
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// removeNamespaces also takes what tests that were killed have left.
func removeNamespaces() {
	names, _ := filepath.Glob("/run/netns/hdc-*")
	for _, name := range names {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(name), "hdc-%d-", &pid); err != nil {
			continue
		}
		if pid == os.Getpid() || syscall.Kill(pid, 0) == syscall.ESRCH {
			_ = exec.Command("ip", "netns", "del", filepath.Base(name)).Run()
		}
	}
}

// newNetns makes a network namespace that lives until the test ends; the path.
func newNetns(t *testing.T, name string) string {
	t.Helper()
	name = prefix + strings.ReplaceAll(t.Name(), "/", "-") + "-" + name
	command(t, "ip", "netns", "add", name)
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	return "/run/netns/" + name
}

func deleteNetns(t *testing.T, path string) {
	t.Helper()
	command(t, "ip", "netns", "del", filepath.Base(path))
}

// inNetns runs in that namespace; what it executes runs there too.
func inNetns(t *testing.T, path string, work func()) {
	t.Helper()
	must(t, ns.WithNetNSPath(path, func(ns.NetNS) error {
		work()
		return nil
	}))
}

type node struct {
	t      *testing.T
	netns  string
	dir    string
	pools  []string
	server *exec.Cmd
	lines  *bufio.Scanner
}

// newNode is a node without its server.
func newNode(t *testing.T, pools ...string) *node {
	t.Helper()
	if len(pools) == 0 {
		pools = []string{"10.1.0.0/24", "fd00:1::/64"}
	}
	n := &node{t: t, netns: newNetns(t, "node"), dir: t.TempDir(), pools: pools}
	command(t, "ip", "-n", filepath.Base(n.netns), "link", "set", "lo", "up")
	t.Cleanup(func() {
		if n.server != nil {
			n.kill()
		}
	})
	return n
}

func startedNode(t *testing.T, pools ...string) *node {
	t.Helper()
	n := newNode(t, pools...)
	n.start("")
	return n
}

func (n *node) socket() string {
	return filepath.Join(n.dir, "cni.sock")
}

// start returns when the server serves. hang: the step of ADD that never ends, or "".
func (n *node) start(hang string) {
	n.t.Helper()
	options, err := json.Marshal(map[string]any{
		"socket": n.socket(), "journal": filepath.Join(n.dir, "ipam.journal"), "pools": n.pools, "hang": hang,
	})
	must(n.t, err)
	n.server = exec.Command("nsenter", "--net="+n.netns, filepath.Join(checkout, "node_modules", ".bin", "node"),
		filepath.Join(checkout, "test", "support", "cni-node.ts"), string(options))
	n.server.Stderr = os.Stderr
	n.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := n.server.StdoutPipe()
	must(n.t, err)
	n.lines = bufio.NewScanner(out)
	must(n.t, n.server.Start())
	n.waitFor("ready")
}

func (n *node) waitFor(wanted string) {
	n.t.Helper()
	for n.lines.Scan() {
		if strings.HasPrefix(n.lines.Text(), wanted) {
			return
		}
	}
	n.t.Fatalf("the server ended before it said %q", wanted)
}

// kill is kill -9.
func (n *node) kill() {
	_ = n.server.Process.Kill()
	_ = n.server.Wait()
	n.server = nil
}

// hostLinks are the host sides of veth pairs.
func (n *node) hostLinks() []string {
	n.t.Helper()
	var names []string
	inNetns(n.t, n.netns, func() {
		links, err := netlink.LinkList()
		must(n.t, err)
		for _, link := range links {
			if link.Type() == "veth" {
				names = append(names, link.Attrs().Name)
			}
		}
	})
	return names
}

// assertClean: no veth pair is left, and no address in use (every address of a small pool could be had again).
func (n *node) assertClean() {
	n.t.Helper()
	if links := n.hostLinks(); len(links) > 0 {
		n.t.Errorf("links left on the node: %v", links)
	}
}

// config is that of the plugin alone, for executing it directly.
func (n *node) config(version string, extra map[string]any) []byte {
	n.t.Helper()
	config := map[string]any{
		"cniVersion": version, "name": "heddle", "type": "heddle-cni",
		"agentSocket": n.socket(), "agentWaitSeconds": 1,
	}
	for key, value := range extra {
		config[key] = value
	}
	text, err := json.Marshal(config)
	must(n.t, err)
	return text
}

type cniError struct {
	CniVersion string
	Code       uint
	Msg        string
	Details    string
}

// execute runs the plugin as a runtime does; its exit code and standard output.
func (n *node) execute(config []byte, environment ...string) (int, []byte) {
	n.t.Helper()
	plugin := exec.Command(filepath.Join(binDir, "heddle-cni"))
	plugin.Env = environment
	plugin.Stdin = bytes.NewReader(config)
	out, err := plugin.Output()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		n.t.Fatal(err)
	}
	return plugin.ProcessState.ExitCode(), out
}

// executeFailing asserts that the plugin failed with an error of the specification.
func (n *node) executeFailing(config []byte, environment ...string) cniError {
	n.t.Helper()
	code, out := n.execute(config, environment...)
	var failure cniError
	if err := json.Unmarshal(out, &failure); err != nil || code == 0 || failure.Code == 0 || failure.Msg == "" {
		n.t.Fatalf("exit code %d, output %q: not an error result", code, out)
	}
	return failure
}

func environment(command, containerID, netns string) []string {
	return []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + containerID, "CNI_NETNS=" + netns,
		"CNI_IFNAME=eth0", "CNI_PATH=" + binDir}
}

func command(t *testing.T, name string, arguments ...string) {
	t.Helper()
	if out, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, arguments, err, out)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
