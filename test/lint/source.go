// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Finding is one breach of one rule.
type Finding struct {
	Path    string // slash-separated, relative to the repository's root
	Line    int    // from 1; 0: the file as a whole
	Check   string // name of the check
	Message string // what is wrong, and what to do instead
}

// String is the finding as compilers write theirs.
func (f Finding) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.Path, f.Line, f.Check, f.Message)
}

// Source is one parsed Go file.
type Source struct {
	Path string // slash-separated, relative to the repository's root
	Text []byte
	Tree *ast.File
	fset *token.FileSet
}

// Parse makes a Source of the text of a file.
func Parse(relative string, text []byte) (*Source, error) {
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, relative, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", relative, err)
	}
	return &Source{Path: relative, Text: text, Tree: tree, fset: fset}, nil
}

// IsTest says whether the go command builds the file for tests only, or the file is below the folder of
// what is for tests only.
func (s *Source) IsTest() bool {
	return strings.HasSuffix(s.Path, "_test.go") || strings.HasPrefix(s.Path, "test/")
}

// IsProgram says whether the file belongs to a program and not to a package that others import.
func (s *Source) IsProgram() bool {
	return s.Tree.Name.Name == "main"
}

// Lines is the file's length.
func (s *Source) Lines() int {
	return bytes.Count(s.Text, []byte("\n"))
}

func (s *Source) line(pos token.Pos) int {
	return s.fset.Position(pos).Line
}

// finding makes a Finding of a check at a position.
func (s *Source) finding(check string, pos token.Pos, format string, args ...any) Finding {
	return Finding{Path: s.Path, Line: s.line(pos), Check: check, Message: fmt.Sprintf(format, args...)}
}

// importName is the name by which the file calls a package, or "" when it does not import it.
func (s *Source) importName(importPath string) string {
	for _, spec := range s.Tree.Imports {
		if value, err := strconv.Unquote(spec.Path.Value); err != nil || value != importPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(importPath)
	}
	return ""
}

// selected is the name that an expression selects from a package: "Now" for time.Now, where pkg is "time".
func selected(expr ast.Expr, pkg string) (name string, ok bool) {
	selector, isSelector := expr.(*ast.SelectorExpr)
	if !isSelector || pkg == "" {
		return "", false
	}
	ident, isIdent := selector.X.(*ast.Ident)
	return selector.Sel.Name, isIdent && ident.Name == pkg
}

// Root is the repository's root: the outermost folder above the working directory with a go.mod.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	root := ""
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			root = dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	if root == "" {
		return "", errors.New("find the repository: no go.mod above the working directory")
	}
	return root, nil
}

// Files are the repository's files by path relative to root, those of git that it does not ignore. Without git, all
// but those in folders whose name starts with a dot.
func Files(root string) ([]string, error) {
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return walkFiles(root)
	}
	var files []string
	for _, file := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		// A file that was removed and not yet committed is still listed.
		if info, err := os.Lstat(filepath.Join(root, file)); err == nil && info.Mode().IsRegular() {
			files = append(files, file)
		}
	}
	return files, nil
}

func walkFiles(root string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if entry.Type().IsRegular() {
			relative, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			files = append(files, filepath.ToSlash(relative))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the repository: %w", err)
	}
	return files, nil
}

// sortFindings puts findings in the order of files and lines.
func sortFindings(findings []Finding) {
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Check, b.Check))
	})
}
