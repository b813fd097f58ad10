// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// forbiddenText is a pattern that no file of the repository may contain.
type forbiddenText struct {
	pattern *regexp.Regexp
	instead string
}

// forbiddenTexts are assembled, so that this file does not contain them itself.
var forbiddenTexts = []forbiddenText{
	{regexp.MustCompile("/wo" + `rk/(main|shared|\.)`), "a path of one machine: use a path relative to the repository"},
	{regexp.MustCompile("/tmp/" + `(bin|brief)\b`), "a path of one machine: build the program, or take its path from a flag"},
	{regexp.MustCompile("/ro" + `ot/`), "a path of one machine: use a path relative to the repository"},
	{regexp.MustCompile(`(?i)\bissue ` + `#?[0-9]+\b`), "a number that says nothing outside of the tracker: say what it is about"},
}

// CheckText looks for forbidden texts in a file of any kind. A file that is not UTF-8 is not looked at.
func CheckText(relative string, text []byte) []Finding {
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		return nil
	}
	var findings []Finding
	for number, line := range strings.Split(string(text), "\n") {
		for _, forbidden := range forbiddenTexts {
			if found := forbidden.pattern.FindString(line); found != "" {
				findings = append(findings, Finding{Path: relative, Line: number + 1, Check: "text",
					Message: fmt.Sprintf("%q is %s", found, forbidden.instead)})
			}
		}
	}
	return findings
}
