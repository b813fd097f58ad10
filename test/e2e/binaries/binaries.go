// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package binaries

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Environment variables that change where binaries come from.
const (
	EnvCache         = "KEELSON_E2E_CACHE"          // folder of built control planes
	EnvKubernetes    = "KEELSON_E2E_KUBERNETES"     // an older minor to build, "1.34"
	EnvKeelsonBinary = "KEELSON_E2E_KEELSON_BINARY" // ready-made keelson
	EnvEtcdBinary    = "KEELSON_E2E_ETCD_BINARY"    // ready-made etcd
)

// kubernetesModule is the module whose version in go.mod decides what is built. Older
// minors have a go.mod of their own, below the folder kubernetes.
const kubernetesModule = "k8s.io/kubernetes"

// Kubernetes is a built control plane.
type Kubernetes struct {
	Version           string // e.g. "v1.36.3"
	APIServer         string // paths of the programs
	ControllerManager string
	Scheduler         string
	Kubectl           string
}

// Builder builds into folders. The zero value is not usable; see New.
type Builder struct {
	moduleDir string       // test/e2e
	repoDir   string       // the repository's root, a module of its own
	cacheDir  string       // built control planes, by version
	say       func(string) // told what takes long
}

// New finds the module and the repository from the current directory. say is
// told, in one line each, of steps that take long.
func New(ctx context.Context, say func(string)) (*Builder, error) {
	goMod, err := goOutput(ctx, ".", "env", "GOMOD")
	if err != nil {
		return nil, err
	}
	moduleDir := filepath.Dir(goMod)
	if filepath.Base(moduleDir) != "e2e" {
		return nil, fmt.Errorf("run this inside the test/e2e module: the go command's module is %q", goMod)
	}
	cacheDir := os.Getenv(EnvCache)
	if cacheDir == "" {
		userCache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no cache folder (set %s): %w", EnvCache, err)
		}
		cacheDir = filepath.Join(userCache, "keelson-e2e")
	}
	return &Builder{
		moduleDir: moduleDir,
		repoDir:   filepath.Join(moduleDir, "..", ".."),
		cacheDir:  cacheDir,
		say:       say,
	}, nil
}

// RepoDir is the root of the repository.
func (b *Builder) RepoDir() string { return b.repoDir }

// Kubernetes returns the control plane of go.mod's version, building what the
// cache does not hold.
func (b *Builder) Kubernetes(ctx context.Context) (Kubernetes, error) {
	moduleDir := b.moduleDir
	if minor := os.Getenv(EnvKubernetes); minor != "" {
		moduleDir = filepath.Join(b.moduleDir, "kubernetes", minor)
		if _, err := os.Stat(filepath.Join(moduleDir, "go.mod")); err != nil {
			return Kubernetes{}, fmt.Errorf("%s=%s is not among the folders of %s", EnvKubernetes, minor, filepath.Dir(moduleDir))
		}
	}
	version, err := goOutput(ctx, moduleDir, "list", "-m", "-f", "{{.Version}}", kubernetesModule)
	if err != nil {
		return Kubernetes{}, err
	}
	name := strings.Join([]string{"kubernetes", version, runtime.Version(), runtime.GOOS, runtime.GOARCH}, "-")
	dir := filepath.Join(b.cacheDir, name)
	k := Kubernetes{
		Version:           version,
		APIServer:         filepath.Join(dir, "kube-apiserver"),
		ControllerManager: filepath.Join(dir, "kube-controller-manager"),
		Scheduler:         filepath.Join(dir, "kube-scheduler"),
	}
	wanted := []string{k.APIServer, k.ControllerManager, k.Scheduler}
	if k.Kubectl, err = exec.LookPath("kubectl"); err != nil {
		k.Kubectl = filepath.Join(dir, "kubectl")
		wanted = append(wanted, k.Kubectl)
	}
	var packages []string
	for _, path := range wanted {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			packages = append(packages, kubernetesModule+"/cmd/"+filepath.Base(path))
		} else if err != nil {
			return Kubernetes{}, err
		}
	}
	if len(packages) == 0 {
		return k, nil
	}
	b.say(fmt.Sprintf("building %s %s into %s (some minutes the first time)",
		strings.Join(packages, ", "), version, dir))
	return k, b.build(ctx, buildSpec{
		moduleDir: moduleDir,
		outDir:    dir,
		packages:  packages,
		linkFlags: kubernetesLinkFlags(version),
	})
}

// kubernetesLinkFlags sets what kubectl version and /version report; the module
// itself carries only a placeholder.
func kubernetesLinkFlags(version string) string {
	const pkg = "k8s.io/component-base/version."
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	flags := []string{"-s", "-w", "-X", pkg + "gitVersion=" + version, "-X", pkg + "gitTreeState=clean"}
	if len(parts) == 3 {
		flags = append(flags, "-X", pkg+"gitMajor="+parts[0], "-X", pkg+"gitMinor="+parts[1])
	}
	return strings.Join(flags, " ")
}

// Keelson builds cmd/keelson of the repository into dir and returns its path,
// or the ready-made binary that the environment names.
func (b *Builder) Keelson(ctx context.Context, dir string) (string, error) {
	if ready := os.Getenv(EnvKeelsonBinary); ready != "" {
		return ready, nil
	}
	return b.repositoryBinary(ctx, dir, "./cmd/keelson", "keelson")
}

// Etcd builds etcd's server, of the version in the repository's go.mod, into dir
// and returns its path, or the ready-made binary that the environment names.
func (b *Builder) Etcd(ctx context.Context, dir string) (string, error) {
	if ready := os.Getenv(EnvEtcdBinary); ready != "" {
		return ready, nil
	}
	return b.repositoryBinary(ctx, dir, "go.etcd.io/etcd/server/v3", "etcd")
}

func (b *Builder) repositoryBinary(ctx context.Context, dir, pkg, name string) (string, error) {
	path := filepath.Join(dir, name)
	return path, b.build(ctx, buildSpec{moduleDir: b.repoDir, outDir: dir, packages: []string{pkg}, outName: name})
}

type buildSpec struct {
	moduleDir string
	outDir    string
	packages  []string
	outName   string // for a single package whose path does not end in the name wanted
	linkFlags string
}

// build compiles into a temporary folder beside the target and renames, so that
// a build that is interrupted, or runs twice at once, never leaves half a
// program behind.
func (b *Builder) build(ctx context.Context, spec buildSpec) error {
	if err := os.MkdirAll(spec.outDir, 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(spec.outDir, "building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	out := tmp + string(filepath.Separator)
	if spec.outName != "" {
		out = filepath.Join(tmp, spec.outName)
	}
	args := []string{"build", "-o", out}
	if spec.linkFlags != "" {
		args = append(args, "-ldflags", spec.linkFlags)
	}
	if _, err := goOutput(ctx, spec.moduleDir, append(args, spec.packages...)...); err != nil {
		return err
	}
	built, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, file := range built {
		if err := os.Rename(filepath.Join(tmp, file.Name()), filepath.Join(spec.outDir, file.Name())); err != nil {
			return err
		}
	}
	return nil
}

// goOutput runs the go command in dir and returns its standard output, trimmed.
func goOutput(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s (in %s): %w\n%s", strings.Join(args, " "), dir, err, stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String()), nil
}
