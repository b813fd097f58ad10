// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"testing"

	"keelson.io/keelson/sqlstore/wire"
)

// Each target holds a decoder against protobuf's: the same is accepted, the same comes out. The
// seeds lie in testdata/fuzz.

func FuzzUnmarshalInternal(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) { sameAsProtobuf(t, entryDecoder, data) })
}

// What is accepted as a client's transaction is accepted as an entry too.
func FuzzTxn(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) {
		sameAsProtobuf(t, txnDecoder, data)
		sameAsProtobuf(t, entryDecoder, wire.AppendInternal(nil, wire.EntryHeader{ID: 1}, wire.KindTxn, data))
	})
}

func FuzzRange(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) { sameAsProtobuf(t, rangeDecoder, data) })
}

func FuzzKeyValue(f *testing.F) {
	f.Fuzz(func(t *testing.T, data []byte) { checkKeyValue(t, data) })
}
