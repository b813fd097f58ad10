// Copyright 2026 The keelson Authors
// SPDX-License-Identifier: Apache-2.0

package compat_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

// volatile are the things that differ from run to run, each with what is put
// in its place. Ids and addresses that are known are replaced before.
var volatile = []struct {
	what *regexp.Regexp
	with string
}{
	// The client's log on standard error.
	{regexp.MustCompile(`"ts":"[^"]*"`), `"ts":<time>`},
	{regexp.MustCompile(`"(ts|took)":\d+(\.\d+)?`), `"$1":<time>`},
	{regexp.MustCompile(`etcd-endpoints://0x[0-9a-f]+/`), `etcd-endpoints://<client>/`},
	{regexp.MustCompile(`endpoint://client-[0-9a-f-]+/`), `endpoint://<client>/`},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), `<address>`},
	// Keys of locks and elections end in a lease's id, which may begin with zeros.
	{regexp.MustCompile(`/[0-9a-f]{10,16}\b`), `/<lease>`},
	// Durations with a fraction or below a second: measured, not asked for.
	{regexp.MustCompile(`\d+\.\d+(ns|µs|ms|s)\b|\b\d+(ns|µs|ms)\b`), `<time>`},
	// What is left of a lease.
	{regexp.MustCompile(`remaining\(\d+s\)`), `remaining(<ttl>)`},
	{regexp.MustCompile(`"ttl":\d+,"granted-ttl"`), `"ttl":<ttl>,"granted-ttl"`},
	{regexp.MustCompile(`"TTL" : \d+\n"GrantedTTL"`), `"TTL" : <ttl>` + "\n" + `"GrantedTTL"`},
	// The database's size.
	{regexp.MustCompile(`\b\d+(\.\d+)? (B|kB|MB|GB)\b`), `<size>`},
	{regexp.MustCompile(`\b\d+%`), `<percent>`},
	{regexp.MustCompile(`"(dbSize|dbSizeInUse)":\d+`), `"$1":<size>`},
	{regexp.MustCompile(`"(DBSize|DBSizeInUse)" : \d+`), `"$1" : <size>`},
	// A snapshot's hash, and what depends on whether etcd has noted its storage version yet.
	{regexp.MustCompile(`"(hash|totalKey|totalSize)":\d+`), `"$1":<n>`},
	{regexp.MustCompile(`"(Hash|Keys|Size)" : \d+`), `"$1" : <n>`},
	{regexp.MustCompile(`(?m)^[0-9a-f]{1,8}, (\d+), \d+, <size>`), `<hash>, $1, <n>, <size>`},
	{regexp.MustCompile(`(?m)^\| +[0-9a-f]{1,8} \| +(\d+) \| +\d+ \| +<size>`), `| <hash> | $1 | <n> | <size>`},
	{regexp.MustCompile(`Server version \d+\.\d+\.\d+\n`), ``},
	{regexp.MustCompile(`"etcd-version":"[^"]*"`), `"etcd-version":<version>`},
	// The width of a table's columns.
	{regexp.MustCompile(`(─|-){2,}`), `--`},
	{regexp.MustCompile(` {2,}`), ` `},
	// Who asked is answered before the applied index is set: it may lag by the last request.
	{regexp.MustCompile(`"raftAppliedIndex":\d+`), `"raftAppliedIndex":<applied>`},
	{regexp.MustCompile(`"RaftAppliedIndex" : \d+`), `"RaftAppliedIndex" : <applied>`},
	{regexp.MustCompile(`((?:true|false), (?:true|false), \d+, \d+), \d+,`), `$1, <applied>,`},
	{regexp.MustCompile(`((?:[│|] (?:true|false) ){2}[│|] \d+ [│|] \d+ [│|]) \d+ `), `$1 <applied> `},
}

func (s *session) normalize(text string) string {
	text = strings.NewReplacer(s.ids...).Replace(text)
	for _, v := range volatile {
		text = v.what.ReplaceAllString(text, v.with)
	}
	return sortLog(text)
}

// sortLog sorts the client's log lines that stand together: goroutines of their own write them.
func sortLog(text string) string {
	lines := strings.Split(text, "\n")
	isLog := func(line string) bool { return strings.HasPrefix(line, `{"level":`) }
	for i := 0; i < len(lines); {
		end := i
		for end < len(lines) && isLog(lines[end]) {
			end++
		}
		slices.Sort(lines[i:end])
		i = end + 1
	}
	return strings.Join(lines, "\n")
}

// decode turns the protobuf output of a command into text.
func decode(args []string, out string) (string, error) {
	messages := map[string]proto.Message{
		"get": &pb.RangeResponse{}, "put": &pb.PutResponse{}, "del": &pb.DeleteRangeResponse{},
		"txn": &pb.TxnResponse{}, "member": &pb.MemberListResponse{}, "alarm": &pb.AlarmResponse{},
	}
	m := messages[args[0]]
	if m == nil {
		return "", fmt.Errorf("nobody knows what %q prints as protobuf", args)
	}
	if err := proto.Unmarshal([]byte(out), m); err != nil {
		return "", fmt.Errorf("decode the protobuf output of %q: %w", args, err)
	}
	return prototext.Format(m) + "\n", nil
}
