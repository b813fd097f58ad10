// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"flag"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"keelson.io/keelson/test/harness"
)

// debianEtcdctl is where Debian's package etcd-client puts its etcdctl.
const debianEtcdctl = "/usr/bin/etcdctl"

// TestMain runs more scripts at a time than there are processors: a script waits
// for servers and disks most of the time.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(3*runtime.GOMAXPROCS(0))); err != nil {
		log.Fatal(err)
	}
	os.Exit(m.Run())
}

var installOnce sync.Once

// etcdctl34 returns Debian's etcdctl 3.4, installed if that can be done.
func etcdctl34(t *testing.T) client {
	t.Helper()
	installOnce.Do(func() {
		if _, err := os.Stat(debianEtcdctl); err == nil || os.Getuid() != 0 {
			return
		}
		if out, err := exec.Command("apt-get", "install", "-y", "--no-install-recommends", "etcd-client").CombinedOutput(); err != nil {
			t.Logf("install etcd-client: %v\n%s", err, out)
		}
	})
	out, err := exec.Command(debianEtcdctl, "version").Output()
	if err != nil {
		t.Skipf("no etcdctl 3.4: it is in Debian's package etcd-client, to be installed by root: %v", err)
	}
	if !strings.Contains(string(out), "etcdctl version: 3.4.") {
		t.Skipf("%s is not 3.4: %s", debianEtcdctl, out)
	}
	return client{"3.4", debianEtcdctl}
}

func etcdctl37(t *testing.T) client {
	return client{"3.7", harness.Build(t, harness.Etcdctl)}
}

// challenger is the server that is compared with etcd. Before there is a
// keelson the scripts themselves are tested, with etcd in both places.
func challenger() harness.Kind {
	if harness.HasKeelson() && os.Getenv("KEELSON_COMPAT_SELF") != "1" {
		return harness.Keelson
	}
	return harness.Etcd
}

// impossible are the scripts that an etcdctl can't run, by version, mode and name.
var impossible = map[string]string{
	"3.4/tls as root/mirror": "etcdctl 3.4 has no flag for the user at the destination",
}

// foldersOf are where the scripts are, by version and mode. Those in auth and
// certificates enable authentication themselves.
var foldersOf = map[string]map[mode][]string{
	"3.7": {
		plainMode: {"testdata", "testdata/auth"},
		tlsMode:   {"testdata", "testdata/certificates"},
		rootMode:  {"testdata"},
	},
	"3.4": {
		plainMode:   {"testdata", "testdata/auth"},
		tlsRootMode: {"testdata"},
	},
}

// etcdctl prints the same and exits with the same status whether it talks to
// etcd or to keelson: over plain connections and by TLS, and as root of a server
// with authentication.
func TestEtcdctl(t *testing.T) {
	for version, get := range map[string]func(*testing.T) client{"3.7": etcdctl37, "3.4": etcdctl34} {
		t.Run(version, func(t *testing.T) {
			c := get(t)
			for m := range foldersOf[version] {
				t.Run(string(m), func(t *testing.T) {
					for _, folder := range foldersOf[version][m] {
						runScripts(t, c, m, folder)
					}
				})
			}
		})
	}
}

// runScripts runs all scripts of a folder beside each other.
func runScripts(t *testing.T, c client, m mode, folder string) {
	scripts, err := filepath.Glob(folder + "/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		if _, ok := impossible[c.version+"/"+string(m)+"/"+name]; ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runScript(t, c, m, path)
		})
	}
}

// runScript runs a script on both servers, line by line, and compares.
func runScript(t *testing.T, c client, m mode, path string) {
	script, err := parseScript(path)
	if err != nil {
		t.Fatal(err)
	}
	etcd := newSession(t, c, harness.Etcd, m)
	other := newSession(t, c, challenger(), m)
	for _, cmd := range script {
		if !cmd.runsIn(c.version, m) {
			continue
		}
		if cmd.verb == restartServer {
			for _, s := range []*session{etcd, other} {
				s.server.Stop()
				s.server.Restart()
			}
			continue
		}
		var want, got result
		var wantErr, gotErr error
		var wg sync.WaitGroup
		wg.Go(func() { want, wantErr = etcd.run(cmd) })
		wg.Go(func() { got, gotErr = other.run(cmd) })
		wg.Wait()
		if wantErr != nil {
			t.Fatalf("%s:%d: %s\netcd: %v", path, cmd.line, cmd.text, wantErr)
		}
		if cmd.fails != (want.code != 0) {
			t.Errorf("%s:%d: %s\nthe script expects another exit status than etcd's\n%s", path, cmd.line, cmd.text, want.text)
		}
		if gotErr != nil {
			t.Fatalf("%s:%d: %s\n%v: %v", path, cmd.line, cmd.text, challenger(), gotErr)
		}
		if got != want {
			t.Errorf("%s:%d: %s\n--- etcd\n%s\n--- %v\n%s", path, cmd.line, cmd.text, want.text, challenger(), got.text)
		}
	}
}
