// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"go.etcd.io/etcd/client/pkg/v3/logutil"
	"go.etcd.io/etcd/client/pkg/v3/systemd"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"gopkg.in/natefinch/lumberjack.v2"
)

// Values of --log-outputs that are no file.
const (
	defaultOutput = "default"
	stderrOutput  = "stderr"
	stdoutOutput  = "stdout"
	journalOutput = "systemd/journal"
	nullOutput    = "/dev/null" // beside others it discards all, as in etcd
)

// Of lines with one text more than the first sampleFirst in a second, every
// sampleEach-th is written, as in etcd.
const sampleFirst, sampleEach = 100, 100

// checkLogging refuses what can't be logged to, in etcd's words.
func (c *config) checkLogging() error {
	_, levelErr := zapcore.ParseLevel(c.logLevel)
	_, formatErr := logutil.ConvertToZapFormat(c.logFormat)
	return errors.Join(
		faultIf(c.logger == "capnslog", "--logger=capnslog is removed in v3.5"),
		faultIf(c.logger != "zap" && c.logger != "capnslog", "unknown logger option %q", c.logger),
		faultIf(levelErr != nil, "--log-level=%s: %w", c.logLevel, levelErr),
		formatErr, c.checkLogOutputs(), c.checkLogRotation(),
	)
}

func (c *config) checkLogOutputs() error {
	several := len(c.logOutputs) > 1
	return errors.Join(
		faultIf(several && slices.Contains(c.logOutputs, defaultOutput), "multi logoutput for %q is not supported yet", defaultOutput),
		faultIf(several && slices.Contains(c.logOutputs, journalOutput), "running with systemd/journal but other '--log-outputs' values (%q) "+
			"are configured with 'default'; override 'default' value with something else", c.logOutputs),
		faultIf(slices.Contains(c.logOutputs, ""), "--log-outputs: an empty name"),
	)
}

func (c *config) checkLogRotation() error {
	if !c.rotateLogs {
		return nil
	}
	if len(c.logFiles()) != 1 {
		return errors.New("--log-outputs requires a single file path when --log-rotate-config-json is defined")
	}
	_, err := c.rotation()
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return fmt.Errorf("improperly formatted log rotation config: %w", err)
	case errors.As(err, &kind):
		return fmt.Errorf("invalid log rotation config: %w", err)
	}
	return fmt.Errorf("fail to unmarshal log rotation config: %w", err)
}

// rotation is --log-rotation-config-json.
func (c *config) rotation() (*lumberjack.Logger, error) {
	var l lumberjack.Logger
	return &l, json.Unmarshal([]byte(c.logRotation), &l)
}

// logFiles are the outputs that are files.
func (c *config) logFiles() []string {
	return slices.DeleteFunc(slices.Clone(c.logOutputs), func(o string) bool {
		return o == defaultOutput || o == stderrOutput || o == stdoutOutput || o == journalOutput
	})
}

// logsToStderr says whether who sees standard error sees the log.
func (c *config) logsToStderr() bool {
	return slices.Contains(c.logOutputs, defaultOutput) || slices.Contains(c.logOutputs, stderrOutput)
}

// newLogger makes the process's logger, with the field names of etcd's.
func newLogger(c *config) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.logLevel)
	if err != nil {
		return nil, err
	}
	encoder := zapcore.NewJSONEncoder(logutil.DefaultZapLoggerConfig.EncoderConfig)
	if c.logFormat == logutil.ConsoleLogFormat {
		encoder = zapcore.NewConsoleEncoder(logutil.DefaultZapLoggerConfig.EncoderConfig)
	}
	if slices.Contains(c.logOutputs, journalOutput) {
		if err := systemd.DialJournal(); err != nil {
			return nil, fmt.Errorf("can't find journal (%w)", err)
		}
		return zap.New(journalCore{level, encoder}, zap.AddCaller()), nil
	}
	outputs, err := c.openLogs()
	if err != nil {
		return nil, fmt.Errorf("--log-outputs=%s: %w", strings.Join(c.logOutputs, ","), err)
	}
	core := zapcore.NewSamplerWithOptions(zapcore.NewCore(encoder, outputs, level), time.Second, sampleFirst, sampleEach)
	return zap.New(core, zap.AddCaller(), zap.AddStacktrace(zap.ErrorLevel), zap.ErrorOutput(outputs)), nil
}

// openLogs opens the outputs, which stay open until the process ends.
func (c *config) openLogs() (zapcore.WriteSyncer, error) {
	paths := slices.Clone(c.logOutputs)
	if slices.Contains(paths, nullOutput) {
		paths = []string{nullOutput}
	}
	var rotated []zapcore.WriteSyncer
	if c.rotateLogs {
		file, err := c.rotation()
		if err != nil {
			return nil, err
		}
		file.Filename = c.logFiles()[0]
		rotated = append(rotated, zapcore.AddSync(file))
		paths = slices.DeleteFunc(paths, func(p string) bool { return p == file.Filename })
	}
	for i, p := range paths {
		if p == defaultOutput {
			paths[i] = stderrOutput
		}
	}
	slices.Sort(paths)
	opened, _, err := zap.Open(slices.Compact(paths)...)
	if err != nil {
		return nil, err
	}
	return zap.CombineWriteSyncers(append(rotated, opened)...), nil
}

// journalCore writes to systemd's journal, with the fields that etcd's lines have
// there. What it can't send goes to standard error.
type journalCore struct {
	zapcore.LevelEnabler
	encoder zapcore.Encoder
}

// With implements zapcore.Core.
func (j journalCore) With(fields []zapcore.Field) zapcore.Core {
	encoder := j.encoder.Clone()
	for _, f := range fields {
		f.AddTo(encoder)
	}
	return journalCore{j.LevelEnabler, encoder}
}

// Check implements zapcore.Core.
func (j journalCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if j.Enabled(entry.Level) {
		return checked.AddCore(entry, j)
	}
	return checked
}

// Write implements zapcore.Core.
func (j journalCore) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	line, err := j.encoder.EncodeEntry(entry, fields)
	if err != nil {
		return err
	}
	defer line.Free()
	err = journal.Send(line.String(), priority(entry.Level), map[string]string{
		"PACKAGE":           filepath.Dir(entry.Caller.TrimmedPath()),
		"SYSLOG_IDENTIFIER": filepath.Base(os.Args[0]),
	})
	if err != nil {
		_, err = os.Stderr.Write(line.Bytes())
	}
	return err
}

// Sync implements zapcore.Core.
func (journalCore) Sync() error { return nil }

func priority(level zapcore.Level) journal.Priority {
	switch level {
	case zapcore.DebugLevel:
		return journal.PriDebug
	case zapcore.InfoLevel:
		return journal.PriInfo
	case zapcore.WarnLevel:
		return journal.PriWarning
	case zapcore.ErrorLevel:
		return journal.PriErr
	}
	return journal.PriCrit
}
