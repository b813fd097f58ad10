// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package etcdapi

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestDefaultsAreValid(t *testing.T) {
	var o Options
	o.SetDefaults()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	if o.requestTimeout() != 7*time.Second || o.maxMessageBytes() != 2<<20 {
		t.Fatalf("timeout %v, message %d", o.requestTimeout(), o.maxMessageBytes())
	}
	short := Options{WatchProgressInterval: time.Millisecond}
	short.SetDefaults()
	if short.WatchProgressInterval != minWatchProgressInterval {
		t.Errorf("progress every %v", short.WatchProgressInterval)
	}
}

func TestAllFaultsAreListed(t *testing.T) {
	o := Options{
		ElectionTimeout: -1, KeepAliveMinTime: -1, KeepAliveInterval: -1, KeepAliveTimeout: -1, FirstBytesTimeout: -1,
		WarningApplyDuration: -1, WarningUnaryRequestDuration: -1, MaxRequestBytes: -1, MaxTxnOps: -1, Metrics: "much",
	}
	o.SetDefaults()
	err := o.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{
		"ElectionTimeout", "KeepAliveMinTime", "KeepAliveInterval", "KeepAliveTimeout", "FirstBytesTimeout",
		"WarningApplyDuration", "WarningUnaryRequestDuration", "MaxRequestBytes", "MaxTxnOps", "Metrics",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not named in %q", field, err)
		}
	}
}

func TestLateTimeoutBeginsWithTheFirstWait(t *testing.T) {
	parent, cancel := context.WithCancel(context.Background())
	defer cancel()
	ctx := &lateTimeout{Context: parent, timeout: time.Millisecond}
	defer ctx.stop()
	if ctx.Err() != nil || ctx.begun != nil {
		t.Fatal("it has begun by itself")
	}
	<-ctx.Done()
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) || parent.Err() != nil {
		t.Fatalf("%v, parent %v", ctx.Err(), parent.Err())
	}
	cancelled := &lateTimeout{Context: parent, timeout: time.Hour}
	defer cancelled.stop()
	cancel()
	<-cancelled.Done()
	if !errors.Is(cancelled.Err(), context.Canceled) {
		t.Fatal(cancelled.Err())
	}
}
