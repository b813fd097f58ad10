// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"bytes"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // grpc's own codec, to compare with
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"keelson.io/keelson/etcdapi/codec"
	"keelson.io/keelson/sqlstore/wire"
)

// Responses of every length around the bounds between the kinds of buffers come out whole, with
// buffers that still hold what was in them before.
func TestMarshalAtEveryBufferSize(t *testing.T) {
	var c codec.Codec
	lengths := []int{0, 1, 50, 60, 70, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 100}
	for _, bound := range []int{1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
		for delta := -8; delta <= 1; delta++ {
			lengths = append(lengths, bound+delta)
		}
	}
	for round := range 2 {
		for _, length := range lengths {
			message := &wire.PutResponse{PrevKV: bytes.Repeat([]byte{byte(round + length)}, length)}
			data, err := c.Marshal(message)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(data.Materialize(), message.AppendTo(nil)) {
				t.Fatalf("round %d: wrong bytes with a value of %d", round, length)
			}
			data.Free()

			request := &pb.PutRequest{Value: message.PrevKV}
			if data, err = c.Marshal(request); err != nil {
				t.Fatal(err)
			}
			if want, err := proto.Marshal(request); err != nil || !bytes.Equal(data.Materialize(), want) {
				t.Fatalf("round %d: wrong bytes of a protobuf message with a value of %d (%v)", round, length, err)
			}
			data.Free()
		}
	}
}

func TestForeignTypesAreRefused(t *testing.T) {
	var c codec.Codec
	if data, err := c.Marshal("text"); err == nil {
		t.Errorf("text was marshaled to %x", data.Materialize())
	}
	if err := c.Unmarshal(nil, new(string)); err == nil {
		t.Error("a string was unmarshaled")
	}
	if c.Name() != "proto" {
		t.Errorf("name is %q", c.Name())
	}
}

// A request must not change when grpc uses its buffer for the next one.
func TestRequestOwnsItsBytes(t *testing.T) {
	wireBytes, err := proto.Marshal(&pb.PutRequest{Key: []byte("key"), Value: []byte("value")})
	if err != nil {
		t.Fatal(err)
	}
	var c codec.Codec
	for _, parts := range []mem.BufferSlice{
		{mem.SliceBuffer(wireBytes)},
		{mem.SliceBuffer(wireBytes[:3]), mem.SliceBuffer(wireBytes[3:])},
	} {
		var r codec.Put
		if err := c.Unmarshal(parts, &r); err != nil {
			t.Fatal(err)
		}
		saved := bytes.Clone(wireBytes)
		clear(wireBytes)
		if string(r.Msg.Key) != "key" || string(r.Msg.Value) != "value" || !bytes.Equal(r.Raw, saved) {
			t.Errorf("request became %v", &r.Msg)
		}
		copy(wireBytes, saved)
	}
}

// Pooled buffers are left out: what the pools hold depends on the garbage collector.
func TestAllocations(t *testing.T) {
	var c codec.Codec
	response := &wire.PutResponse{Header: header}
	if n := testing.AllocsPerRun(100, func() {
		data, err := c.Marshal(response)
		if err != nil {
			t.Fatal(err)
		}
		data.Free()
	}); n > 1 {
		t.Errorf("marshaling a put's response takes %v allocations, want 1", n)
	}
	raw, err := proto.Marshal(&pb.PutRequest{Key: []byte("key"), Value: make([]byte, 1000)})
	if err != nil {
		t.Fatal(err)
	}
	parts := mem.BufferSlice{mem.SliceBuffer(raw)}
	if n := testing.AllocsPerRun(100, func() {
		r := new(codec.Put)
		if err := c.Unmarshal(parts, r); err != nil {
			t.Fatal(err)
		}
		r.Entry(wire.EntryHeader{ID: 9})
	}); n > 2 {
		t.Errorf("a put's request and entry take %v allocations, want 2", n)
	}
}

// The benchmarks compare with grpc's own codec and etcd's structs. Responses take turns, so that
// they do not come from the processor's cache.

func benchmarkMarshal(b *testing.B, messages []*wire.RangeResponse) {
	var structs []*pb.RangeResponse
	for _, m := range messages {
		s := new(pb.RangeResponse)
		if err := proto.Unmarshal(m.AppendTo(nil), s); err != nil {
			b.Fatal(err)
		}
		structs = append(structs, s)
	}
	run := func(c encoding.CodecV2, message func(i int) any) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				data, err := c.Marshal(message(i % len(messages)))
				if err != nil {
					b.Fatal(err)
				}
				data.Free()
			}
		}
	}
	b.Run("codec", run(codec.Codec{}, func(i int) any { return messages[i] }))
	b.Run("grpc", run(encoding.GetCodecV2("proto"), func(i int) any { return structs[i] }))
}

func pages(n, items, length int) []*wire.RangeResponse {
	var list []*wire.RangeResponse
	for range n {
		list = append(list, &wire.RangeResponse{Header: header, KVs: keyValues(items, length), Count: 20000, More: true})
	}
	return list
}

func BenchmarkMarshalGet(b *testing.B)      { benchmarkMarshal(b, pages(1000, 1, 320)) }
func BenchmarkMarshalPage(b *testing.B)     { benchmarkMarshal(b, pages(40, 500, 1024)) }
func BenchmarkMarshalKeysPage(b *testing.B) { benchmarkMarshal(b, pages(40, 500, 0)) }
func BenchmarkMarshalList(b *testing.B)     { benchmarkMarshal(b, pages(2, 20000, 1024)) }

func BenchmarkUnmarshalPut(b *testing.B) {
	raw, err := proto.Marshal(&pb.PutRequest{Key: []byte("/registry/pods/default/000001"), Value: make([]byte, 1024)})
	if err != nil {
		b.Fatal(err)
	}
	parts := mem.BufferSlice{mem.SliceBuffer(raw)}
	b.Run("codec", func(b *testing.B) { // with its entry
		b.ReportAllocs()
		for b.Loop() {
			r := new(codec.Put)
			if err := (codec.Codec{}).Unmarshal(parts, r); err != nil {
				b.Fatal(err)
			}
			r.Entry(wire.EntryHeader{ID: 1 << 60})
		}
	})
	b.Run("grpc", func(b *testing.B) {
		c := encoding.GetCodecV2("proto")
		b.ReportAllocs()
		for b.Loop() {
			r := new(pb.PutRequest)
			if err := c.Unmarshal(parts, r); err != nil {
				b.Fatal(err)
			}
			if _, err := proto.Marshal(&pb.InternalRaftRequest{Header: &pb.RequestHeader{ID: 1 << 60}, Put: r}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
