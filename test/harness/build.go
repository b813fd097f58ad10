// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// Binary names a program that Build can make.
type Binary string

// The programs, each with the package that it is built from, see sources.
const (
	KeelsonServer Binary = "keelson"
	EtcdServer    Binary = "etcd"
	Etcdctl       Binary = "etcdctl"
	Etcdutl       Binary = "etcdutl"
)

var sources = map[Binary]string{
	KeelsonServer: "./cmd/keelson",
	EtcdServer:    "go.etcd.io/etcd/server/v3",
	Etcdctl:       "go.etcd.io/etcd/etcdctl/v3",
	Etcdutl:       "go.etcd.io/etcd/etcdutl/v3",
}

type buildResult struct {
	once sync.Once
	path string
	err  error
}

var builds = map[Binary]*buildResult{
	KeelsonServer: {}, EtcdServer: {}, Etcdctl: {}, Etcdutl: {},
}

// Build returns the path of an up-to-date executable, made once a process. A
// failure to build ends the test.
func Build(t testing.TB, b Binary) string {
	t.Helper()
	r, ok := builds[b]
	if !ok {
		t.Fatalf("harness: no binary is called %q", b)
	}
	r.once.Do(func() { r.path, r.err = build(b) })
	if r.err != nil {
		t.Fatalf("harness: build %s: %v", b, r.err)
	}
	return r.path
}

// HasKeelson says whether this checkout has a server to build.
func HasKeelson() bool {
	root, err := Root()
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(root, "cmd", "keelson", "main.go"))
	return err == nil
}

// Root returns the directory of the repository's go.mod.
func Root() (string, error) {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("harness: the runtime does not know this source file")
	}
	for dir := filepath.Dir(file); ; {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("harness: no go.mod above %s (built with -trimpath?)", file)
		}
		dir = parent
	}
}

func build(b Binary) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	cache, err := cacheDir(root)
	if err != nil {
		return "", err
	}
	args := []string{"build"}
	out := filepath.Join(cache, string(b))
	if b == KeelsonServer {
		if err := noteSources(root); err != nil {
			return "", err
		}
		if os.Getenv("KEELSON_RACE") == "1" {
			args = append(args, "-race")
			out += "-race"
		}
	}
	unlock, err := lockFile(out + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	cmd := exec.Command("go", append(args, "-o", out, sources[b])...)
	cmd.Dir = root
	// On the cache's own file system go build renames the new binary into
	// place; a copy over one that another process runs would fail.
	cmd.Env = append(os.Environ(), "GOTMPDIR="+cache)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, text)
	}
	return out, nil
}

// cacheDir makes and returns the directory for the binaries of one checkout.
func cacheDir(root string) (string, error) {
	dir := os.Getenv("KEELSON_TEST_CACHE")
	if dir == "" {
		sum := sha256.Sum256([]byte(root))
		dir = filepath.Join(os.TempDir(), "keelson-test-"+strconv.Itoa(os.Getuid()), hex.EncodeToString(sum[:6]))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make the binaries' cache: %w", err)
	}
	return dir, nil
}

// noteSources reads the checkout's directories. The go command logs what a test
// opens and takes a cached result for void when one of them has changed, so a
// test of a server process is run again after the server's source was edited.
func noteSources(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			// Another test's scratch directory may vanish under the walk.
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if d.IsDir() && path != root && d.Name()[0] == '.' {
			return filepath.SkipDir
		}
		return nil
	})
}

// lockFile takes an exclusive lock that ends with the returned function or the
// process, whichever comes first.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}
