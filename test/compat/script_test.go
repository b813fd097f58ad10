// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The things that a line of a script can do.
type verb int

const (
	runCommand verb = iota
	letLease
	startCommand
	awaitLines
	stopCommand
	restartServer
)

// command is one line of a script.
type command struct {
	verb
	line    int
	text    string   // as written, for messages
	only    []string // the one etcdctl version, and the one mode, that run it; empty: all
	fails   bool     // whether it must exit with an error
	formats []string // values of --write-out, one run each; empty: one run without it
	name    string   // of the variable or the background command
	lines   int      // to await
	args    []string
	stdin   string
}

// parseScript reads a file of the form that doc.go describes.
func parseScript(path string) ([]*command, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var script []*command
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "<"):
			if len(script) == 0 {
				return nil, fmt.Errorf("%s:%d: input for no command", path, i+1)
			}
			script[len(script)-1].stdin += strings.TrimPrefix(line[1:], " ") + "\n"
		default:
			c, err := parseCommand(line)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
			}
			c.line = i + 1
			script = append(script, c)
		}
	}
	return script, nil
}

var onlyIn = regexp.MustCompile(`^(3\.\d+|plain|tls|root|tls as root): `)

func parseCommand(line string) (*command, error) {
	c := &command{text: line}
	for m := onlyIn.FindStringSubmatch(line); m != nil; m = onlyIn.FindStringSubmatch(line) {
		c.only, line = append(c.only, m[1]), line[len(m[0]):]
	}
	if rest, ok := strings.CutPrefix(line, "! "); ok {
		c.fails, line = true, rest
	}
	if rest, ok := strings.CutPrefix(line, "** "); ok {
		c.formats, line = []string{"simple", "json", "fields", "protobuf"}, rest
	} else if rest, ok := strings.CutPrefix(line, "* "); ok {
		c.formats, line = []string{"simple", "json", "fields"}, rest
	}
	words, err := splitWords(line)
	if err != nil {
		return nil, err
	}
	return c, c.setVerb(words)
}

func (c *command) setVerb(words []string) error {
	var err error
	switch {
	case words[0] == "let" && len(words) > 3 && words[2] == "=":
		c.verb, c.name, c.args = letLease, words[1], words[3:]
	case words[0] == "start" && len(words) > 2:
		c.verb, c.name, c.args = startCommand, words[1], words[2:]
	case words[0] == "await" && len(words) == 3:
		c.verb, c.name = awaitLines, words[1]
		c.lines, err = strconv.Atoi(words[2])
	case words[0] == "stop" && len(words) == 2:
		c.verb, c.name = stopCommand, words[1]
	case words[0] == "restart" && len(words) == 1:
		c.verb = restartServer
	default:
		c.args = words
	}
	return err
}

// runsIn says whether the line is for a version of etcdctl and a mode.
func (c *command) runsIn(version string, m mode) bool {
	return !slices.ContainsFunc(c.only, func(only string) bool { return only != version && only != string(m) })
}

// splitWords separates a line at its spaces; quotes keep words together.
func splitWords(line string) ([]string, error) {
	var words []string
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimLeft(rest, " ") {
		switch rest[0] {
		case '\'':
			end := strings.IndexByte(rest[1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("quote without an end: %s", rest)
			}
			words, rest = append(words, rest[1:end+1]), rest[end+2:]
		case '"':
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("%w: %s", err, rest)
			}
			word, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("%w: %s", err, quoted)
			}
			words, rest = append(words, word), rest[len(quoted):]
		default:
			word, after, _ := strings.Cut(rest, " ")
			words, rest = append(words, word), after
		}
	}
	return words, nil
}
