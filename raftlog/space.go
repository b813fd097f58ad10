// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// spaceCheckInterval is how long an answer of the file system is believed.
const spaceCheckInterval = time.Second

// space says whether the log's disk has room for more.
type space struct {
	clock   Clock
	log     *zap.Logger
	free    func() (uint64, error)
	reserve uint64

	next    atomic.Int64 // when to ask again, in Unix nanoseconds
	scarce  atomic.Bool  // the last answer
	failing atomic.Bool  // a save failed and has not been made good
}

// low says that nothing more should be accepted. One caller a second asks the file system.
func (s *space) low() bool {
	if s.failing.Load() {
		return true
	}
	now := s.clock.Now().UnixNano()
	if next := s.next.Load(); now >= next && s.next.CompareAndSwap(next, now+int64(spaceCheckInterval)) {
		s.ask()
	}
	return s.scarce.Load()
}

// ask asks the file system. Without an answer the last one stands: whether writing works, Save will tell.
func (s *space) ask() {
	free, err := s.free()
	if err != nil {
		s.log.Warn("cannot tell the space left for the log", zap.Error(err))
		return
	}
	scarce := free < s.reserve
	if scarce == s.scarce.Swap(scarce) {
		return
	}
	if scarce {
		s.log.Error("too little space left for the log, refusing writes", zap.Uint64("free-bytes", free), zap.Uint64("reserve-bytes", s.reserve))
	} else {
		s.log.Info("enough space left for the log again, accepting writes", zap.Uint64("free-bytes", free), zap.Uint64("reserve-bytes", s.reserve))
	}
}

// fail makes low true until recover is called.
func (s *space) fail() { s.failing.Store(true) }

// recover undoes fail and has the file system asked again at once.
func (s *space) recover() {
	s.next.Store(0)
	s.failing.Store(false)
}
