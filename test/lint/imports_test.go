// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"strings"
	"testing"
)

// TestImportGraph wants every arrow between packages to be one of the design's.
func TestImportGraph(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	packages, err := listPackages(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range CheckImports(packages, layers) {
		t.Error(f)
	}
}

func TestCheckImports(t *testing.T) {
	for _, test := range []struct {
		name    string
		folder  string
		imports string // space-separated; those of keelson by folder, with "./" before
		deps    string
		want    string // substring of the one finding; empty: none
	}{
		{name: "downwards", folder: "etcdapi", imports: "./raftlog ./sqlstore/wire ./etcdapi/codec fmt"},
		{name: "upwards", folder: "sqlstore", imports: "./etcdapi", want: "must not import " + importPath("etcdapi")},
		{name: "sideways", folder: "raftlog", imports: "./sqlstore", want: "must not import " + importPath("sqlstore")},
		{name: "sideways below", folder: "raftlog/disk", imports: "./sqlstore/sqldb", want: "must not import"},
		{name: "own part", folder: "raftlog", imports: "./raftlog/disk ./metrics"},
		{name: "part of the store", folder: "sqlstore", imports: "./sqlstore/index ./registry"},
		{name: "data structure", folder: "sqlstore/index", imports: "./metrics", want: "must not import"},
		{name: "store and raft", folder: "sqlstore", imports: "go.etcd.io/raft/v3/raftpb", want: "must not import go.etcd.io/raft"},
		{name: "store and gRPC", folder: "sqlstore/wire", imports: "google.golang.org/grpc/mem", want: "must not import"},
		{name: "gRPC through others", folder: "sqlstore", imports: "go.etcd.io/etcd/api/v3/etcdserverpb", deps: "google.golang.org/grpc"},
		{name: "metrics import none", folder: "metrics", imports: "./registry", want: "must not import"},
		{name: "server links no Kubernetes", folder: "cmd/keelson", imports: "./etcdapi", deps: "k8s.io/klog/v2", want: "must not link k8s.io/klog/v2"},
		{name: "server links no store of etcd", folder: "cmd/keelson", deps: "go.etcd.io/etcd/server/v3/storage/backend", want: "must not link"},
		{name: "only backend knows bbolt", folder: "sqlstore", imports: "go.etcd.io/bbolt", want: "must not import"},
		{name: "names that look alike", folder: "cmd/keelsonctl", deps: "k8s.io/klog/v2"},
		{name: "no test in a product", folder: "etcdapi", imports: "./test/harness", want: "must not import"},
		{name: "no layer", folder: "util", want: "no layer"},
		{name: "another's package", folder: "../other", imports: "k8s.io/klog/v2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := goPackage{ImportPath: importPath(test.folder), Deps: strings.Fields(test.deps)}
			for _, imported := range strings.Fields(test.imports) {
				if folder, ours := strings.CutPrefix(imported, "./"); ours {
					imported = importPath(folder)
				}
				p.Imports = append(p.Imports, imported)
			}
			findings := CheckImports([]goPackage{p}, layers)
			if test.want == "" && len(findings) > 0 {
				t.Errorf("findings %v, want none", findings)
			}
			if test.want != "" && (len(findings) != 1 || !strings.Contains(findings[0].Message, test.want)) {
				t.Errorf("findings %v, want one of %q", findings, test.want)
			}
		})
	}
}
