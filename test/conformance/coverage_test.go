// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const suitePackage = "k8s.io/apiserver/pkg/storage/testing"

// storeExcluded are the functions of the suite that are not run over the etcd3 store, each with the reason.
var storeExcluded = map[string]string{
	"RunTestOptionalWatchBookmarksWithCorrectResourceVersion": "bookmarks between events are the watch cache's; the etcd3 store sends none",
}

// transformerOfStore is the reason for all that exchange the transformer below a running store. The cache has
// decoded its objects already, so they do not hold for it; kube-apiserver's authors do not run them either.
const transformerOfStore = "exchanges the transformer below the store, which the cache does not read through"

// cacherExcluded are the functions of the suite that are not run over the watch cache, each with the reason.
var cacherExcluded = map[string]string{
	"RunTestGetListWithErrorAggregation":      transformerOfStore,
	"RunTestGetListWithoutErrorAggregation":   transformerOfStore,
	"RunTestGuaranteedUpdate":                 transformerOfStore,
	"RunTestGuaranteedUpdateChecksStoredData": transformerOfStore,
	"RunTestListResourceVersionMatch":         transformerOfStore,
	"RunTestTransformationFailure":            transformerOfStore,
	"RunTestWatchError":                       transformerOfStore,
	"RunTestWatchWithUnsafeDelete":            transformerOfStore,
	"RunWatchErrorIsBlockingFurtherEvents":    transformerOfStore,
	"RunTestListInconsistentContinuation":     "the cache takes no limit for a list at resource version 0, so there is no page to continue from",
	"RunOptionalTestProgressNotify":           "progress is the cache's own means to stay fresh; it does not hand it on",
}

// TestNothingIsLeftOut compares what the suite exports with what the tables run.
func TestNothingIsLeftOut(t *testing.T) {
	exported := exportedSuite(t)
	if len(exported) < 50 {
		t.Fatalf("the suite exports %d functions, fewer than it ever did: %v", len(exported), exported)
	}
	var store, cache []string
	for _, c := range storeCases() {
		store = append(store, suiteName(c.suite))
	}
	for _, c := range cacherCases() {
		cache = append(cache, suiteName(c.suite))
	}
	checkCoverage(t, "the etcd3 store", exported, store, storeExcluded)
	checkCoverage(t, "the watch cache", exported, cache, cacherExcluded)
}

// checkCoverage wants each exported function to be either run or excluded with a reason.
func checkCoverage(t *testing.T, over string, exported, run []string, excluded map[string]string) {
	t.Helper()
	for _, name := range exported {
		reason, isExcluded := excluded[name]
		isRun := slices.Contains(run, name)
		switch {
		case isRun && isExcluded:
			t.Errorf("%s is run over %s, and excluded", name, over)
		case !isRun && reason == "":
			t.Errorf("%s is neither run over %s nor excluded with a reason", name, over)
		}
	}
	for name := range excluded {
		if !slices.Contains(exported, name) {
			t.Errorf("%s is excluded over %s, but the suite has no such function", name, over)
		}
	}
}

// exportedSuite are the names of the suite's exported Run functions, read from the module's source. Functions that
// take a *testing.B are benchmarks and no part of it.
func exportedSuite(t *testing.T) []string {
	t.Helper()
	pkg, err := build.Import(suitePackage, ".", build.FindOnly)
	if err != nil {
		t.Fatalf("find %s: %v", suitePackage, err)
	}
	files, err := filepath.Glob(filepath.Join(pkg.Dir, "*.go"))
	if err != nil {
		t.Fatalf("list %s: %v", pkg.Dir, err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatalf("parse the suite: %v", err)
		}
		for _, decl := range parsed.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && isSuiteFunction(fn) {
				names = append(names, fn.Name.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// isSuiteFunction says whether a declaration is an exported Run function with a *testing.T or a testing.TB.
func isSuiteFunction(fn *ast.FuncDecl) bool {
	if fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Run") {
		return false
	}
	for _, field := range fn.Type.Params.List {
		typ := field.Type
		if pointer, ok := typ.(*ast.StarExpr); ok {
			typ = pointer.X
		}
		selector, ok := typ.(*ast.SelectorExpr)
		if !ok {
			continue
		}
		if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == "testing" && selector.Sel.Name != "B" {
			return true
		}
	}
	return false
}
