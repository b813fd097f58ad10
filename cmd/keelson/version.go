// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	etcdversion "go.etcd.io/etcd/api/v3/version"
)

// version is keelson's.
const version = "0.1.0"

// printVersion prints the versions, a line each, in the form of etcd's.
func printVersion(out io.Writer) {
	sha := "not provided"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				sha = s.Value
			}
		}
	}
	fmt.Fprintf(out, "keelson Version: %s\netcd Version: %s\nGit SHA: %s\nGo Version: %s\nGo OS/Arch: %s/%s\n",
		version, etcdversion.Version, sha, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
