// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const usage = `keelson is an etcd v3 server with a SQLite store, for Kubernetes control planes.

Usage:

  keelson [flags]
    Serve clients on http://localhost:2379 from ./default.keelson.

  keelson --version
    Show the versions.

  keelson --config-file FILE
    Take all settings from a file in etcd's format, YAML or JSON, and no others:
    flags and variables are ignored then. Times are whole numbers of nanoseconds.

Flags are etcd's, with its defaults, and may start with one dash or two. Each
can also be given as a variable: --data-dir as ETCD_DATA_DIR.
`

// printHelp prints every option with its default.
func printHelp(out io.Writer) {
	fmt.Fprint(out, usage)
	for _, s := range (&config{}).sections() {
		fmt.Fprintf(out, "\n%s:\n", s.title)
		for _, o := range s.options {
			if o.help == "" || o.name == noFlag {
				continue // of the past, or only for the file
			}
			fmt.Fprintf(out, "  --%s '%s'\n    %s\n", o.name, o.defaultText(), o.help+o.remark())
		}
	}
}

// defaultText is the option's default as one would type it.
func (o option) defaultText() string {
	if o.shown != "" {
		return o.shown
	}
	text := o.value.String()
	if d, err := time.ParseDuration(text); err == nil && d != 0 {
		if strings.HasSuffix(text, "m0s") {
			text = strings.TrimSuffix(text, "0s")
		}
		if strings.HasSuffix(text, "h0m") {
			text = strings.TrimSuffix(text, "0m")
		}
	}
	return text
}

// remark says what of an option is not as in etcd.
func (o option) remark() string {
	if o.ignored {
		return " Has no meaning in keelson: accepted with a warning."
	}
	return ""
}
