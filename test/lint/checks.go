// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/token"
	"path"
	"regexp"
	"strings"
)

// Limits of size. A function or file that needs more is an exception with a reason.
const (
	maxFunctionLines = 70
	maxFileLines     = 600
	maxParameters    = 5
)

// header is how every Go file starts.
const header = "// Copyright 2026 The keelson Authors\n// SPDX-License-Identifier: Apache-2.0\n"

// Check is one rule about one file.
type Check struct {
	Name string
	Run  func(*Source) []Finding
}

// Checks are all rules about single files.
func Checks() []Check {
	return []Check{
		{"header", checkHeader},
		{"format", checkFormat},
		{"clock", checkClock},
		{"sleep", checkSleep},
		{"bool-parameter", checkBoolParameters},
		{"parameters", checkParameterCount},
		{"function-length", checkFunctionLength},
		{"file-length", checkFileLength},
		{"print", checkPrint},
		{"panic", checkPanic},
		{"skip", checkSkip},
		{"unfinished", checkUnfinished},
	}
}

func checkHeader(s *Source) []Finding {
	if strings.HasPrefix(string(s.Text), header) {
		return nil
	}
	return []Finding{s.finding("header", s.Tree.FileStart, "the file does not start with the licence: put the two lines of the LICENSE header first")}
}

// checkFormat wants every file as gofmt writes it.
func checkFormat(s *Source) []Finding {
	formatted, err := format.Source(s.Text)
	if err == nil && bytes.Equal(formatted, s.Text) {
		return nil
	}
	return []Finding{s.finding("format", s.Tree.FileStart, "the file is not formatted: run gofmt -w on it")}
}

// clockFunctions read or wait for the machine's clock.
var clockFunctions = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true, "AfterFunc": true,
	"NewTimer": true, "NewTicker": true, "Tick": true,
}

// checkClock keeps the machine's clock out of packages, so that a cluster can run under a seed.
func checkClock(s *Source) []Finding {
	if s.IsTest() || s.IsProgram() || strings.HasPrefix(s.Path, "bench/") {
		return nil
	}
	pkg := s.importName("time")
	var findings []Finding
	ast.Inspect(s.Tree, func(node ast.Node) bool {
		if expr, ok := node.(*ast.SelectorExpr); ok {
			if name, ok := selected(expr, pkg); ok && clockFunctions[name] {
				findings = append(findings, s.finding("clock", expr.Pos(), "time.%s uses the machine's clock: take a clock through the package's Options", name))
			}
		}
		return true
	})
	return findings
}

// checkSleep wants tests to wait for what they need and not for a while.
func checkSleep(s *Source) []Finding {
	if !s.IsTest() {
		return nil
	}
	pkg := s.importName("time")
	var findings []Finding
	ast.PreorderStack(s.Tree, nil, func(node ast.Node, stack []ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		name, ok := selected(call.Fun, pkg)
		if ok && name == "Sleep" && !insideLoop(stack) {
			findings = append(findings, s.finding("sleep", call.Pos(), "a sleep of a fixed time is too long or too short: poll for the condition with a deadline"))
		}
		return true
	})
	return findings
}

// insideLoop says whether the innermost function around a node repeats it.
func insideLoop(stack []ast.Node) bool {
	for i := len(stack) - 1; i >= 0; i-- {
		switch stack[i].(type) {
		case *ast.ForStmt, *ast.RangeStmt:
			return true
		case *ast.FuncLit, *ast.FuncDecl:
			return false
		}
	}
	return false
}

// checkBoolParameters wants callers of exported functions to be readable: Open(path, true) is not.
func checkBoolParameters(s *Source) []Finding {
	if s.IsTest() {
		return nil
	}
	var findings []Finding
	for _, decl := range s.Tree.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || !fn.Name.IsExported() || !receiverExported(fn) {
			continue
		}
		for _, field := range fn.Type.Params.List {
			if isBool(field.Type) {
				findings = append(findings, s.finding("bool-parameter", field.Pos(),
					"%s takes a bool: use two functions, a field of an options struct, or a type with named values", fn.Name.Name))
			}
		}
	}
	return findings
}

func isBool(expr ast.Expr) bool {
	if variadic, ok := expr.(*ast.Ellipsis); ok {
		expr = variadic.Elt
	}
	ident, ok := expr.(*ast.Ident)
	return ok && ident.Name == "bool"
}

// receiverExported says whether a function is no method, or the method of an exported type.
func receiverExported(fn *ast.FuncDecl) bool {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return true
	}
	exported := true
	ast.Inspect(fn.Recv.List[0].Type, func(node ast.Node) bool {
		if ident, ok := node.(*ast.Ident); ok {
			exported = ident.IsExported()
			return false
		}
		_, isIndex := node.(*ast.IndexExpr)
		_, isStar := node.(*ast.StarExpr)
		return isIndex || isStar
	})
	return exported
}

func checkParameterCount(s *Source) []Finding {
	if s.IsTest() {
		return nil
	}
	var findings []Finding
	ast.Inspect(s.Tree, func(node ast.Node) bool {
		if fn, ok := node.(*ast.FuncDecl); ok {
			if count := fn.Type.Params.NumFields(); count > maxParameters {
				findings = append(findings, s.finding("parameters", fn.Name.Pos(),
					"%s takes %d parameters, more than %d: gather those that belong together in a struct", fn.Name.Name, count, maxParameters))
			}
		}
		return true
	})
	return findings
}

func checkFunctionLength(s *Source) []Finding {
	if s.IsTest() {
		return nil
	}
	var findings []Finding
	for _, decl := range s.Tree.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if lines := s.line(fn.End()) - s.line(fn.Pos()) + 1; lines > maxFunctionLines {
			findings = append(findings, s.finding("function-length", fn.Name.Pos(),
				"%s has %d lines, more than %d: give its parts names of their own", fn.Name.Name, lines, maxFunctionLines))
		}
	}
	return findings
}

func checkFileLength(s *Source) []Finding {
	if s.IsTest() || s.Lines() <= maxFileLines {
		return nil
	}
	return []Finding{s.finding("file-length", s.Tree.FileStart, "%d lines, more than %d: split the file by what its parts do", s.Lines(), maxFileLines)}
}

// checkPrint wants packages to return errors, or to log through what they were given.
func checkPrint(s *Source) []Finding {
	if s.IsTest() || s.IsProgram() || strings.HasPrefix(s.Path, "bench/") || strings.HasPrefix(s.Path, "cmd/") {
		return nil
	}
	fmtName, logName := s.importName("fmt"), s.importName("log")
	var findings []Finding
	ast.Inspect(s.Tree, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		if name, ok := selected(call.Fun, fmtName); ok && strings.HasPrefix(name, "Print") {
			findings = append(findings, s.finding("print", call.Pos(), "fmt.%s writes to standard output: return an error, or log through the logger of the Options", name))
		}
		if name, ok := selected(call.Fun, logName); ok && usesProcessLogger(name) {
			findings = append(findings, s.finding("print", call.Pos(), "log.%s uses the process's logger: use the logger of the Options", name))
		}
		if ident, ok := call.Fun.(*ast.Ident); ok && (ident.Name == "print" || ident.Name == "println") {
			findings = append(findings, s.finding("print", call.Pos(), "%s is for debugging: return an error, or log through the logger of the Options", ident.Name))
		}
		return true
	})
	return findings
}

// usesProcessLogger says whether a function of package log writes to the logger that all of a process share.
func usesProcessLogger(name string) bool {
	return strings.HasPrefix(name, "Print") || strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic")
}

// checkPanic wants each panic to say which invariant is broken when it is reached.
func checkPanic(s *Source) []Finding {
	if s.IsTest() {
		return nil
	}
	commented := map[int]bool{}
	for _, group := range s.Tree.Comments {
		for line := s.line(group.Pos()); line <= s.line(group.End())+1; line++ {
			commented[line] = true
		}
	}
	var findings []Finding
	ast.PreorderStack(s.Tree, nil, func(node ast.Node, stack []ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		ident, ok := call.Fun.(*ast.Ident)
		if ok && ident.Name == "panic" && !commented[s.line(call.Pos())] && !commented[s.line(conditionOf(stack, call))] && !documentsPanic(stack) {
			findings = append(findings, s.finding("panic", call.Pos(), "panic without a comment: return an error, or say above it why it cannot happen"))
		}
		return true
	})
	return findings
}

// documentsPanic says whether the function around a node announces that it panics: in its comment, or by a comment and a name that
// starts with "must".
func documentsPanic(stack []ast.Node) bool {
	for _, node := range stack {
		if fn, ok := node.(*ast.FuncDecl); ok && fn.Doc != nil {
			return strings.HasPrefix(strings.ToLower(fn.Name.Name), "must") || strings.Contains(fn.Doc.Text(), "panic")
		}
	}
	return false
}

// conditionOf is where the condition starts under which a node is reached: the innermost if or case around it, or the
// node itself.
func conditionOf(stack []ast.Node, node ast.Node) token.Pos {
	for i := len(stack) - 1; i >= 0; i-- {
		switch around := stack[i].(type) {
		case *ast.IfStmt, *ast.CaseClause:
			return around.Pos()
		case *ast.FuncDecl, *ast.FuncLit:
			return node.Pos()
		}
	}
	return node.Pos()
}

// checkSkip wants a skipped test to say what it lacks.
func checkSkip(s *Source) []Finding {
	if !s.IsTest() || s.importName("testing") == "" {
		return nil
	}
	var findings []Finding
	ast.Inspect(s.Tree, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		selector, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		switch name := selector.Sel.Name; {
		case name == "SkipNow", (name == "Skip" || name == "Skipf") && !saysSomething(call.Args) && isTestVariable(selector.X):
			findings = append(findings, s.finding("skip", call.Pos(), "a skip without a reason: say by t.Skip(...) what the test lacks here"))
		}
		return true
	})
	return findings
}

// isTestVariable says whether an expression looks like a *testing.T, B, F or a testing.TB.
func isTestVariable(expr ast.Expr) bool {
	ident, ok := expr.(*ast.Ident)
	return ok && (ident.Name == "t" || ident.Name == "b" || ident.Name == "f" || ident.Name == "tb")
}

// saysSomething says whether the first argument is more than an empty text.
func saysSomething(args []ast.Expr) bool {
	if len(args) == 0 {
		return false
	}
	literal, ok := args[0].(*ast.BasicLit)
	return !ok || literal.Kind != token.STRING || len(strings.TrimSpace(strings.Trim(literal.Value, "\"`"))) > 0
}

// unfinishedMark is assembled, so that this file does not break its own rule.
var unfinishedMark = regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"}, "|") + `)\b`)

// checkUnfinished wants open ends in the project's issues, not in its code.
func checkUnfinished(s *Source) []Finding {
	var findings []Finding
	for _, group := range s.Tree.Comments {
		for _, comment := range group.List {
			if mark := unfinishedMark.FindString(comment.Text); mark != "" {
				findings = append(findings, s.finding("unfinished", comment.Pos(), "%s: finish it, or open an issue and describe here what is", mark))
			}
		}
	}
	return findings
}

// CheckPackageDocs wants a doc.go with a package comment in each folder that has Go files other than tests.
func CheckPackageDocs(sources []*Source) []Finding {
	documented, first := map[string]bool{}, map[string]string{}
	for _, s := range sources {
		if strings.HasSuffix(s.Path, "_test.go") {
			continue
		}
		dir := path.Dir(s.Path)
		if _, ok := first[dir]; !ok {
			first[dir] = s.Path
		}
		if path.Base(s.Path) == "doc.go" && s.Tree.Doc != nil {
			text := s.Tree.Doc.Text()
			documented[dir] = strings.HasPrefix(text, "Package "+s.Tree.Name.Name+" ") || (s.IsProgram() && strings.HasPrefix(text, "Command "))
		}
	}
	var findings []Finding
	for dir, file := range first {
		if !documented[dir] {
			findings = append(findings, Finding{Path: file, Check: "package-doc",
				Message: dir + " has no doc.go that starts with \"// Package name\" (\"// Command name\" for a program): say there what it is for"})
		}
	}
	return findings
}
