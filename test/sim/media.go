// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package sim

// newMedium returns what a node's log is kept on.
func newMedium(w *World, _ uint64) medium {
	return simMedium{&simLog{limit: w.plan.segmentBytes}}
}

// newMachineDisk returns what a node's state is kept on.
func newMachineDisk(_ *World, _ uint64) machineDisk {
	return newMemoryDisk()
}
