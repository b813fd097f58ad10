// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package raftlog

import "go.uber.org/zap"

// raftLogger is raft's logger over zap's.
type raftLogger struct{ *zap.SugaredLogger }

func newRaftLogger(l *zap.Logger) raftLogger {
	return raftLogger{l.Named("raft").WithOptions(zap.AddCallerSkip(1)).Sugar()}
}

func (l raftLogger) Warning(args ...any)                 { l.Warn(args...) }
func (l raftLogger) Warningf(format string, args ...any) { l.Warnf(format, args...) }
