// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.etcd.io/etcd/server/v3/features"
)

func TestFeatureGates(t *testing.T) {
	c, err := parse([]string{"--feature-gates=AllAlpha=true,CompactHashCheck=false", "--initial-advertise-peer-urls=http://name:1,http://127.0.0.1:1,http://10.1.2.3:1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !c.gates.Enabled(features.LeaseCheckpoint) || c.gates.Enabled(features.CompactHashCheck) {
		t.Errorf("the gates are not as given: %+v", c.gates)
	}
	if c.peerTLS.LocalAddr != "10.1.2.3" {
		t.Errorf("connections to members come from %q", c.peerTLS.LocalAddr)
	}
	notes := fmt.Sprint(c.notes)
	for name := range withoutEffect {
		moved := c.gates.Enabled(name) != features.DefaultEtcdServerFeatureGates[name].Default
		if moved != strings.Contains(notes, string(name)) {
			t.Errorf("%s was moved: %v; the warnings are %s", name, moved, notes)
		}
	}
	if c, err := parse([]string{"--initial-advertise-peer-urls=http://10.1.2.3:1"}, nil); err != nil || c.peerTLS.LocalAddr != "" {
		t.Errorf("without the gate connections come from %q, %v", c.peerTLS.LocalAddr, err)
	}
	for _, test := range []struct{ args, want string }{
		{"--feature-gates=NoSuch=true", `invalid value "NoSuch=true" for flag -feature-gates: unrecognized feature gate: NoSuch`},
		{"--feature-gates=AllAlpha", `invalid value "AllAlpha" for flag -feature-gates: missing bool value for AllAlpha`},
		{"--feature-gates=AllAlpha=maybe", `invalid value of AllAlpha=maybe, err: strconv.ParseBool: parsing "maybe": invalid syntax`},
		{"--feature-gates=LeaseCheckpointPersist=true", "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint"},
	} {
		if _, err := parse(strings.Fields(test.args), nil); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
	}
}

// TestFeatureGatesAreKnown wants each of etcd's gates to do something or to be
// told to do nothing, here and in docs/compatibility.md.
func TestFeatureGatesAreKnown(t *testing.T) {
	doc, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range features.DefaultEtcdServerFeatureGates {
		if _, ok := withoutEffect[name]; !ok && name != features.SetMemberLocalAddr {
			t.Errorf("nothing is known of etcd's feature gate %s", name)
		}
		if !strings.Contains(string(doc), "`"+string(name)+"`") {
			t.Errorf("docs/compatibility.md says nothing of %s", name)
		}
	}
	for name := range withoutEffect {
		if _, ok := features.DefaultEtcdServerFeatureGates[name]; !ok {
			t.Errorf("etcd has no gate %s", name)
		}
	}
}
