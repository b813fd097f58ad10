// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package rpc_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// unequal are the fields that can't be the same on two servers. That they are set is
// compared.
var unequal = map[protoreflect.FullName]bool{
	"etcdserverpb.ResponseHeader.cluster_id":        true,
	"etcdserverpb.ResponseHeader.member_id":         true,
	"etcdserverpb.ResponseHeader.raft_term":         true,
	"etcdserverpb.StatusResponse.dbSize":            true,
	"etcdserverpb.StatusResponse.dbSizeInUse":       true,
	"etcdserverpb.StatusResponse.leader":            true,
	"etcdserverpb.StatusResponse.raftIndex":         true,
	"etcdserverpb.StatusResponse.raftTerm":          true,
	"etcdserverpb.StatusResponse.raftAppliedIndex":  true,
	"etcdserverpb.HashResponse.hash":                true,
	"etcdserverpb.SnapshotResponse.remaining_bytes": true,
	"etcdserverpb.SnapshotResponse.blob":            true,
	"etcdserverpb.LeaseTimeToLiveResponse.TTL":      true,
	"etcdserverpb.Member.ID":                        true,
	"etcdserverpb.AlarmMember.memberID":             true,
	"etcdserverpb.AuthenticateResponse.token":       true,
}

// untimely are the fields that are set at some time: etcd's storage version follows the
// cluster's after some seconds.
var untimely = map[protoreflect.FullName]bool{"etcdserverpb.StatusResponse.storageVersion": true}

// render writes a message in one line, the same for equal messages, which protobuf's
// own text is not.
func render(m proto.Message) string {
	var b strings.Builder
	renderMessage(&b, m.ProtoReflect())
	return b.String()
}

func renderMessage(b *strings.Builder, m protoreflect.Message) {
	b.WriteByte('{')
	fields := m.Descriptor().Fields()
	separator := ""
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) || untimely[f.FullName()] {
			continue
		}
		b.WriteString(separator)
		separator = " "
		b.WriteString(string(f.Name()))
		b.WriteByte(':')
		switch {
		case unequal[f.FullName()] && !f.IsList():
			b.WriteString("<set>")
		case f.IsList():
			renderList(b, f, m.Get(f).List())
		default:
			renderValue(b, f, m.Get(f))
		}
	}
	b.WriteByte('}')
}

func renderList(b *strings.Builder, f protoreflect.FieldDescriptor, list protoreflect.List) {
	parts := make([]string, list.Len())
	for i := range parts {
		var one strings.Builder
		renderValue(&one, f, list.Get(i))
		parts[i] = one.String()
	}
	if orderedByID[f.FullName()] {
		slices.Sort(parts)
	}
	fmt.Fprintf(b, "%s", parts)
}

// orderedByID are the lists whose order follows from ids, which differ.
var orderedByID = map[protoreflect.FullName]bool{
	"etcdserverpb.MemberAddResponse.members":     true,
	"etcdserverpb.MemberUpdateResponse.members":  true,
	"etcdserverpb.MemberPromoteResponse.members": true,
	"etcdserverpb.MemberListResponse.members":    true,
	"etcdserverpb.LeaseLeasesResponse.leases":    true,
	"etcdserverpb.LeaseTimeToLiveResponse.keys":  true,
}

// chosenByServer is from where on an id is one that a server has made up.
const chosenByServer = 1 << 40

func renderValue(b *strings.Builder, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch f.Kind() {
	case protoreflect.MessageKind:
		renderMessage(b, v.Message())
	case protoreflect.BytesKind:
		fmt.Fprintf(b, "%q", v.Bytes())
	case protoreflect.StringKind:
		fmt.Fprintf(b, "%q", v.String())
	case protoreflect.EnumKind:
		b.WriteString(string(f.Enum().Values().ByNumber(v.Enum()).Name()))
	case protoreflect.Int64Kind:
		if (f.Name() == "ID" || f.Name() == "lease") && v.Int() >= chosenByServer {
			b.WriteString("<set>")
			return
		}
		fmt.Fprint(b, v.Int())
	default:
		fmt.Fprint(b, v.Interface())
	}
}

var address = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)

// hexLease is how an id that a server has made up ends the key of an election or a lock.
var hexLease = regexp.MustCompile(`/[0-9a-f]{14,16}\b`)

// normal is a transcript's line without what the session's server alone has.
func (s *session) normal(line string) string {
	line = address.ReplaceAllString(line, "<address>")
	line = hexLease.ReplaceAllString(line, "/<lease>")
	line = strings.ReplaceAll(line, "  ", " ") // protobuf's text has one or two spaces, by chance
	for name, value := range s.vars {
		line = regexp.MustCompile(`\b`+value+`\b`).ReplaceAllString(line, "<"+name+">")
	}
	return line
}
