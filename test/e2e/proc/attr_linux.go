// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"runtime"
	"syscall"
)

func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func lastingThread() {
	runtime.LockOSThread()
	for start := range starts {
		start()
	}
}
