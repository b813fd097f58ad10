// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keelson.io/keelson/test/e2e/binaries"
	"keelson.io/keelson/test/e2e/controlplane"
)

const (
	startTimeout = 3 * time.Minute // all programs up, on a busy machine
	stepTimeout  = 2 * time.Minute // one step of a test
	pollEvery    = 100 * time.Millisecond

	// compactionEvery is short, so that history is compacted under the tests.
	compactionEvery = 10 * time.Second
)

// env is what the tests share: one control plane, since starting it costs more
// than most tests. Each test works in namespaces of its own.
var env struct {
	cluster *controlplane.Cluster
	options controlplane.Options // of cluster
	store   controlplane.StoreKind
}

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run keeps the run's folder, with all logs, when something failed.
func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "keelson-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() {
		if code != 0 || err != nil {
			fmt.Fprintf(os.Stderr, "logs and data are kept in %s\n", dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	if err := startShared(ctx, dir); err != nil {
		return 1, err
	}
	code = m.Run()
	if code != 0 {
		fmt.Fprintln(os.Stderr, env.cluster.LogTails(15))
	}
	return code, env.cluster.Stop(ctx)
}

func startShared(ctx context.Context, dir string) error {
	env.store = controlplane.StoreKeelson
	if s := os.Getenv("KEELSON_E2E_STORE"); s != "" {
		env.store = controlplane.StoreKind(s)
	}
	if err := env.store.Valid(); err != nil {
		return fmt.Errorf("KEELSON_E2E_STORE: %w", err)
	}
	builder, err := binaries.New(ctx, func(line string) { fmt.Fprintln(os.Stderr, line) })
	if err != nil {
		return err
	}
	kubernetes, err := builder.Kubernetes(ctx)
	if err != nil {
		return err
	}
	buildStore := builder.Keelson
	if env.store == controlplane.StoreEtcd {
		buildStore = builder.Etcd
	}
	storeBinary, err := buildStore(ctx, filepath.Join(dir, "bin"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	env.options = controlplane.Options{
		Dir:             dir,
		Store:           env.store,
		StoreBinary:     storeBinary,
		Kubernetes:      kubernetes,
		Secure:          true,
		CompactionEvery: compactionEvery,
	}
	env.cluster, err = controlplane.Start(ctx, env.options)
	return err
}

// kubectlCommand is kubectl as a user of the shared cluster runs it.
func kubectlCommand(ctx context.Context, args ...string) *exec.Cmd {
	return kubectlOf(ctx, env.cluster, args...)
}

// kubectlOf is kubectl as a user of a cluster runs it.
func kubectlOf(ctx context.Context, cluster *controlplane.Cluster, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, env.options.Kubernetes.Kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig())
	return cmd
}

// kubectl runs kubectl and returns its standard output, trimmed; a failure ends
// the test.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := tryKubectl(t, "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tryKubectl runs kubectl with stdin; its error carries what it wrote to
// standard error.
func tryKubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	cmd := kubectlCommand(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), err
}

// eventually looks at a condition until it returns nil.
func eventually(t *testing.T, what string, condition func() error) {
	t.Helper()
	deadline := time.Now().Add(stepTimeout)
	for {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, stepTimeout, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, t.Context().Err())
		case <-time.After(pollEvery):
		}
	}
}
