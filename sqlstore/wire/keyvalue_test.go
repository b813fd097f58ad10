// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"bytes"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"keelson.io/keelson/sqlstore/wire"
)

// anyEvent generates an event, as this package encodes it and as etcd's struct.
func anyEvent(t *rapid.T) ([]byte, *mvccpb.Event) {
	event := &mvccpb.Event{Type: mvccpb.Event_EventType(rapid.IntRange(0, 1).Draw(t, "type"))}
	kv := func(name string) []byte {
		if !rapid.Bool().Draw(t, name) {
			return nil
		}
		return append([]byte{}, wire.AppendKeyValue(nil, anyKeyValue(t))...)
	}
	data, prev := kv("has kv"), kv("has prev")
	event.Kv, event.PrevKv = pbKV(data), pbKV(prev)
	encoded := wire.AppendEvent(nil, event.Type, data, prev)
	if len(encoded) != wire.SizeEvent(event.Type, data, prev) {
		t.Fatalf("event takes %d bytes, its size says %d", len(encoded), wire.SizeEvent(event.Type, data, prev))
	}
	return encoded, event
}

func TestEventsEqualProtobufs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		got, event := anyEvent(t)
		if want, err := proto.Marshal(event); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("encoded %x, want %x (%v)", got, want, err)
		}
	})
}

func TestKeyValuesEqualProtobufs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kv := anyKeyValue(t)
		message := &mvccpb.KeyValue{
			Key: kv.Key, Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision,
			Version: kv.Version, Lease: kv.Lease,
		}
		want, err := proto.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		got := wire.AppendKeyValue(nil, kv)
		if !bytes.Equal(got, want) || wire.SizeKeyValue(kv) != len(want) {
			t.Fatalf("encoded %x (size %d), want %x", got, wire.SizeKeyValue(kv), want)
		}
		checkKeyValue(t, got)

		message.Value = nil
		want, err = proto.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		if stripped := wire.StripValue(got); !bytes.Equal(stripped, want) {
			t.Fatalf("stripped %x, want %x", stripped, want)
		}
	})
}

// checkKeyValue checks that data, of any origin, is parsed as protobuf parses it, and that taking
// the value out leaves what must be left.
func checkKeyValue(t rapid.TB, data []byte) {
	t.Helper()
	var want mvccpb.KeyValue
	kv, err := wire.ParseKeyValue(data)
	if wantErr := proto.Unmarshal(data, &want); (err == nil) != (wantErr == nil) {
		t.Fatalf("%x: error %v, protobuf's %v", data, err, wantErr)
	}
	stripped := wire.StripValue(data)
	if err != nil {
		return
	}
	got := &mvccpb.KeyValue{
		Key: kv.Key, Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision,
		Version: kv.Version, Lease: kv.Lease,
	}
	want.ProtoReflect().SetUnknown(nil)
	if !proto.Equal(got, &want) {
		t.Fatalf("%x: parsed %v, want %v", data, got, &want)
	}
	if !bytes.Equal(wire.AppendKeyValue(nil, kv), data) {
		return // not canonical: there may be several values, and unknown fields
	}
	kv.Value = nil
	if want := wire.AppendKeyValue(nil, kv); !bytes.Equal(stripped, want) {
		t.Fatalf("%x: stripped %x, want %x", data, stripped, want)
	}
}

func TestKeyValuesFromElsewhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkKeyValue(t, damage(t, fields(t, flat13, 2)))
	})
}

func TestStripValueKeepsKeyWithoutValue(t *testing.T) {
	data := wire.AppendKeyValue(nil, wire.KeyValue{Key: []byte("k"), Lease: 7})
	if stripped := wire.StripValue(data); &stripped[0] != &data[0] {
		t.Error("a key-value without value was copied")
	}
}
