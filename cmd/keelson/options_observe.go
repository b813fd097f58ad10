// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "time"

const (
	defaultUnaryWarning = 300 * time.Millisecond
	defaultLogRotation  = `{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}`
)

func (c *config) monitoringOptions() []option {
	return []option{
		{name: "enable-pprof", value: value(&c.pprof, false), help: "Serve /debug/pprof."},
		{name: "metrics", value: value(&c.metrics, "basic"), help: "basic, or extensive for histograms by method."},
	}
}

func (c *config) loggingOptions() []option {
	return []option{
		{name: "logger", value: value(&c.logger, "zap"), help: "Only zap."},
		{name: "log-outputs", value: textList(&c.logOutputs, defaultOutput), help: "Any of stderr, stdout and files, separated by commas; or default, which is stderr, or systemd/journal."},
		{name: "log-level", value: value(&c.logLevel, "info"), help: "debug, info, warn, error, panic or fatal."},
		{name: "log-format", value: value(&c.logFormat, "json"), help: "json or console."},
		{name: "enable-log-rotation", value: value(&c.rotateLogs, false), help: "Rotate the file of --log-outputs."},
		{name: "log-rotation-config-json", value: value(&c.logRotation, defaultLogRotation), help: "When to rotate: maxsize in MB, maxage in days, maxbackups in files (0: no limit)."},
		{name: "warning-unary-request-duration", value: value(&c.warningUnaryRequestDuration, defaultUnaryWarning), help: "Time from which a request is logged as slow."},
	}
}

func (c *config) featureOptions() []option {
	return []option{
		{name: "corrupt-check-time", value: value(&c.corruptCheckTime, 0), help: "Time between comparisons of all that the members keep; 0: never."},
		{name: "compact-hash-check-time", value: value(&c.compactHashCheckTime, time.Minute), help: "Time between comparisons of what the members keep after a compaction."},
		{name: "compaction-batch-limit", value: value(&c.compactionBatchLimit, 0), help: "Keys that compaction visits at a time; 0: 1000."},
		{name: "compaction-sleep-interval", value: unused(time.Duration(0)), ignored: true, help: "Pause between the batches of a compaction."},
		{name: "watch-progress-notify-interval", value: value(&c.watchProgressInterval, 0), help: "Time between progress notifications of watches that want them; 0: 10m."},
		{name: "warning-apply-duration", value: value(&c.warningApplyDuration, 100*time.Millisecond), help: "Time from which applying an entry is logged as slow."},
		{name: "bootstrap-defrag-threshold-megabytes", value: unused[uint](0), ignored: true, help: "Free megabytes from which bbolt's file is written anew at the start."},
		{name: "downgrade-check-time", value: value(&c.downgradeCheckTime, 5*time.Second), help: "Time between looks at an ongoing downgrade."},
		{name: "snapshot-catchup-entries", value: value(&c.snapshotCatchUpEntries, 5000), help: "Entries kept for members that lag behind."},
		{name: "feature-gates", value: c.gates.value(), help: "Features to turn on or off, as name=true,name=false. All of etcd's are known; only SetMemberLocalAddr changes something."},
		{name: "config-file", key: noKey, value: value(&c.configFile, ""), help: "File that all settings are taken from."},
		{name: "version", key: noKey, value: value(&c.printVersion, false), help: "Print the versions and end."},
	}
}

func (c *config) unsafeOptions() []option {
	return append([]option{
		{name: "force-new-cluster", value: value(&c.forceNewCluster, false), help: "Go on alone with the data of a member whose cluster has lost its quorum for good. All other members are removed."},
		{name: "unsafe-no-fsync", value: value(&c.unsafeNoFsync, false), help: "Do not sync the log: a crash of the machine loses acknowledged writes."},
	}, pastOptions()...)
}

// pastOptions are flags that etcd itself takes and ignores, with or without a value.
func pastOptions() []option {
	var options []option
	for _, name := range []string{
		"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force", "max-result-buffer",
		"max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout", "retry-interval", "snapshot", "v", "vv",
		"test.coverprofile", "test.outputdir",
	} {
		options = append(options, option{name: name, key: noKey, value: anything{}, ignored: true})
	}
	return options
}

// anything is the value of a flag of the past.
type anything struct{}

func (anything) String() string   { return "" }
func (anything) Set(string) error { return nil }
func (anything) IsBoolFlag() bool { return true }
