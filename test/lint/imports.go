// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// modulePath is the path of the repository's root module.
const modulePath = "keelson.io/keelson"

// goPackage is what the go command knows of a package; tests are no part of it.
type goPackage struct {
	ImportPath string
	Imports    []string // direct
	Deps       []string // direct and indirect
}

// layer is one box of the design's picture: a folder of packages, and the arrows that leave it.
type layer struct {
	folder string   // relative to the root; "cmd/keelson" holds for all packages below it, too
	may    []string // folders of keelson that it may import, besides its own
	never  []string // packages of others, with all below them, that it must not import directly
	links  []string // the same, not even through others
	why    string
}

// layers is the import graph of the design. The first layer that a package is in counts, so a folder comes before the one that
// it is in.
var layers = []layer{
	{folder: "cmd/keelson/tlsinfo", may: []string{"metrics"}, never: []string{"google.golang.org/grpc", "go.etcd.io/raft", "database/sql", "k8s.io"},
		why: "a connection is secured before anybody knows what it carries"},
	{folder: "cmd/keelson", may: []string{"etcdapi", "raftlog", "sqlstore", "registry", "metrics"},
		links: []string{"k8s.io", "sigs.k8s.io", "go.etcd.io/etcd/server/v3/storage/backend", "go.etcd.io/etcd/server/v3/storage/mvcc"},
		why:   "the server's binary stays small, and SQLite takes the place of etcd's store"},
	{folder: "cmd", may: []string{"etcdapi", "raftlog", "sqlstore", "registry", "metrics"},
		why: "programs wire the parts"},
	{folder: "etcdapi/codec", may: []string{"sqlstore/wire"},
		why: "the codec knows messages and nothing of what they do"},
	{folder: "etcdapi", may: []string{"raftlog", "sqlstore", "registry", "metrics"}, never: []string{"k8s.io", "go.etcd.io/bbolt"},
		why: "it answers requests out of the log and the store"},
	{folder: "raftlog", may: []string{"metrics"}, never: []string{"google.golang.org/grpc", "modernc.org/sqlite", "database/sql", "go.etcd.io/bbolt", "k8s.io"},
		why: "the log does not know what an entry means"},
	{folder: "sqlstore/wire", never: []string{"google.golang.org/grpc", "go.etcd.io/raft", "k8s.io"},
		why: "messages are bytes, wherever they come from"},
	{folder: "sqlstore/index", never: []string{"google.golang.org/grpc", "go.etcd.io", "k8s.io"},
		why: "the index is a data structure"},
	{folder: "sqlstore/sqldb", may: []string{"metrics"}, never: []string{"google.golang.org/grpc", "go.etcd.io/raft", "go.etcd.io/bbolt", "k8s.io"},
		why: "the file knows rows and nothing of requests"},
	{folder: "sqlstore/backend", may: []string{"sqlstore/sqldb", "sqlstore/wire"}, never: []string{"google.golang.org/grpc", "k8s.io"},
		why: "the file is etcd's, and etcd keeps raft's configuration in it"},
	{folder: "sqlstore", may: []string{"registry", "metrics"}, never: []string{"google.golang.org/grpc", "go.etcd.io/raft", "go.etcd.io/bbolt", "k8s.io"},
		why: "applying is a pure step that knows neither raft nor gRPC"},
	{folder: "registry", may: []string{"metrics"}, never: []string{"google.golang.org/grpc", "go.etcd.io/raft", "database/sql", "k8s.io"},
		why: "what keys mean is a matter of pure functions"},
	{folder: "metrics", never: []string{"go.etcd.io", "google.golang.org/grpc", "k8s.io"},
		why: "metrics observe all and import none"},
	{folder: "bench", may: []string{"cmd", "etcdapi", "raftlog", "sqlstore", "registry", "metrics"},
		why: "benchmarks look at everything from the outside"},
	{folder: "test", may: []string{"cmd", "etcdapi", "raftlog", "sqlstore", "registry", "metrics"},
		why: "tests look at everything from the outside"},
}

// CheckImports holds packages to the layers. A package in no layer is a finding: the picture has a box for each.
func CheckImports(packages []goPackage, layers []layer) []Finding {
	var findings []Finding
	for _, p := range packages {
		folder, ours := strings.CutPrefix(p.ImportPath, modulePath+"/")
		if !ours {
			continue
		}
		index := slices.IndexFunc(layers, func(l layer) bool { return within(folder, l.folder) })
		if index < 0 {
			findings = append(findings, Finding{Path: folder, Check: "imports", Message: "the package is in no layer: give it one, with its arrows"})
			continue
		}
		findings = append(findings, layers[index].check(p, folder)...)
	}
	sortFindings(findings)
	return findings
}

func (l layer) check(p goPackage, folder string) []Finding {
	var findings []Finding
	report := func(verb, imported string) {
		findings = append(findings, Finding{Path: folder, Check: "imports",
			Message: fmt.Sprintf("must not %s %s: %s", verb, imported, l.why)})
	}
	for _, imported := range p.Imports {
		target, ours := strings.CutPrefix(imported, modulePath+"/")
		if ours && !within(target, l.folder) && !withinAny(target, l.may) || !ours && withinAny(imported, l.never) {
			report("import", imported)
		}
	}
	for _, linked := range p.Deps {
		if withinAny(linked, l.links) {
			report("link", linked)
		}
	}
	return findings
}

// within says whether an import path is a folder or below it.
func within(importPath, folder string) bool {
	return importPath == folder || strings.HasPrefix(importPath, folder+"/")
}

// withinAny says whether an import path is one of several folders or below one. A module without its version stands
// for all versions of it.
func withinAny(importPath string, folders []string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool { return within(importPath, folder) })
}

// listPackages asks the go command for all packages of the module at root. Nested modules are not among them.
func listPackages(root string) ([]goPackage, error) {
	list := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	list.Dir = root
	out, err := list.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("list packages: %w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the list of packages: %w", err)
		}
		packages = append(packages, p)
	}
}

// importPath makes an import path of a folder of the repository.
func importPath(folder string) string {
	return path.Join(modulePath, folder)
}
