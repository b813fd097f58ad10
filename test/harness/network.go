// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// isolatedEnv tells a test binary that it runs in a network namespace of its own.
const isolatedEnv = "KEELSON_ISOLATED"

// Isolated says whether the test may make networks. If it runs on the machine's
// own network it is run again, in a process with a network namespace of its own,
// fails if that one fails, and has nothing left to do. That takes root; without
// it the test is skipped.
func Isolated(t *testing.T) bool {
	t.Helper()
	if os.Getenv(isolatedEnv) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("network namespaces need ip, of Debian's package iproute2")
	}
	Build(t, KeelsonServer) // whatever is to be downloaded is not to be had in there
	args := append(os.Args[1:], "-test.run=^"+t.Name()+"$", "-test.v", "-test.testlogfile=")
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), isolatedEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	output, err := cmd.CombinedOutput()
	t.Logf("in a network namespace:\n%s", output)
	if err != nil {
		t.Errorf("in a network namespace: %v", err)
	}
	return false
}

// Network is a switch with hosts, in the namespace of an isolated test. The test
// itself is connected to it as well.
type Network struct {
	hosts []*Host
	cuts  [][2]*Host // from, to
}

// Host is a network namespace with an address.
type Host struct {
	Address string
	network *Network
	name    string // of the namespace
}

const (
	bridge     = "keelson0"
	subnet     = "10.213.0."
	testsHost  = subnet + "254/24"
	mostOfHost = 250
)

// NewNetwork makes the network of an isolated test.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	if os.Getenv(isolatedEnv) == "" {
		t.Fatal("harness: networks are for isolated tests")
	}
	ip(t, "link", "set", "lo", "up")
	ip(t, "link", "add", bridge, "type", "bridge")
	ip(t, "address", "add", testsHost, "dev", bridge)
	ip(t, "link", "set", bridge, "up")
	return &Network{}
}

// AddHost connects another host.
func (n *Network) AddHost(t testing.TB) *Host {
	t.Helper()
	i := len(n.hosts) + 1
	if i > mostOfHost {
		t.Fatal("harness: the network is full")
	}
	h := &Host{
		Address: fmt.Sprintf("%s%d", subnet, i), network: n,
		name: fmt.Sprintf("keelson-%d-%d", os.Getpid(), i),
	}
	link := fmt.Sprintf("host%d", i)
	ip(t, "netns", "add", h.name)
	t.Cleanup(func() { ip(t, "netns", "delete", h.name) })
	ip(t, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", h.name)
	ip(t, "link", "set", link, "master", bridge, "up")
	ip(t, "-n", h.name, "address", "add", h.Address+"/24", "dev", "eth0")
	ip(t, "-n", h.name, "link", "set", "eth0", "up")
	ip(t, "-n", h.name, "link", "set", "lo", "up")
	n.hosts = append(n.hosts, h)
	return h
}

// command makes a command one that runs on the host.
func (h *Host) command(command []string) []string {
	return append([]string{"ip", "netns", "exec", h.name}, command...)
}

// On returns the host that a server runs on.
func (s *Server) On() *Host { return s.opts.On }

// Cut has all that one host sends to another disappear. What comes back does not,
// unless that is cut, too.
func (n *Network) Cut(t testing.TB, from, to *Host) {
	t.Helper()
	ip(t, "-n", from.name, "route", "add", "blackhole", to.Address+"/32")
	n.cuts = append(n.cuts, [2]*Host{from, to})
}

// Heal takes back all cuts.
func (n *Network) Heal(t testing.TB) {
	t.Helper()
	for _, c := range n.cuts {
		ip(t, "-n", c[0].name, "route", "delete", "blackhole", c[1].Address+"/32")
	}
	n.cuts = nil
}

// ip runs iproute2's program, which must succeed.
func ip(t testing.TB, args ...string) {
	t.Helper()
	output, err := exec.Command("ip", args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("harness: ip %s: %v: %s", strings.Join(args, " "), err, output)
	} else if err != nil {
		t.Fatalf("harness: %v", err)
	}
}
