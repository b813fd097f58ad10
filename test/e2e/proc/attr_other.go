// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package proc

import "syscall"

// childAttributes: without Linux's parent death signal a parent that is killed
// outright leaves its children behind; every other end stops them.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

func lastingThread() {
	for start := range starts {
		start()
	}
}
