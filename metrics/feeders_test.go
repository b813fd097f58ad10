// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestEveryMetricIsFed looks through the server's code for whoever tells each
// metric: a metric that nobody tells stays 0 for ever, and an alert on it never
// fires. It goes by names, so it finds what was forgotten, not what is fed wrongly.
func TestEveryMetricIsFed(t *testing.T) {
	selected, assigned := usedNames(t)
	for _, layer := range []any{Raft{}, Store{}, Leases{}, Server{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(layer)) {
			if !selected[field.Name] {
				t.Errorf("%T.%s is registered, and nobody tells it anything", layer, field.Name)
			}
		}
	}
	for _, stats := range []any{RaftStats{}, MemberStats{}, StoreStats{}, ServerInfo{}} {
		for _, field := range reflect.VisibleFields(reflect.TypeOf(stats)) {
			if !assigned[field.Name] {
				t.Errorf("%T.%s is exported, and nobody sets it", stats, field.Name)
			}
		}
	}
}

// usedNames returns the names that are selected from something, as in x.Name, and
// those that are keys of composite literals, in all of the server but this package.
func usedNames(t *testing.T) (selected, assigned map[string]bool) {
	t.Helper()
	selected, assigned = make(map[string]bool), make(map[string]bool)
	for _, folder := range []string{"cmd", "etcdapi", "raftlog", "registry", "sqlstore"} {
		err := filepath.WalkDir(filepath.Join("..", folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					selected[n.Sel.Name] = true
				case *ast.KeyValueExpr:
					if key, ok := n.Key.(*ast.Ident); ok {
						assigned[key.Name] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return selected, assigned
}
